/**
 * What a leg carries already, by the well-known marks of file systems, volume managers and partition
 * tables (offsets as in util-linux' libblkid documentation and each format's own).
 */

/** The farthest mark is btrfs's superblock, at 64 KiB. */
export const SIGNATURE_BYTES = 68 * 1024;

interface Mark {
  readonly name: string;
  readonly offset: number;
  readonly bytes: string;
  /** Offset and length of what tells one from another of its kind: a UUID, a serial number. */
  readonly id?: readonly [number, number];
}

/** First match names the content: containers before what they might hold. */
const MARKS: readonly Mark[] = [
  { name: 'a LUKS volume', offset: 0, bytes: 'LUKS\xba\xbe', id: [168, 40] },
  { name: 'a qcow2 image', offset: 0, bytes: 'QFI\xfb' },
  { name: 'a member of a Linux md array', offset: 0, bytes: '\xfc\x4e\x2b\xa9', id: [16, 16] },
  { name: 'a member of a Linux md array', offset: 4096, bytes: '\xfc\x4e\x2b\xa9', id: [4112, 16] },
  { name: 'an LVM physical volume', offset: 0, bytes: 'LABELONE' },
  { name: 'an LVM physical volume', offset: 512, bytes: 'LABELONE' },
  { name: 'an LVM physical volume', offset: 1024, bytes: 'LABELONE' },
  { name: 'an LVM physical volume', offset: 1536, bytes: 'LABELONE' },
  { name: 'swap space', offset: 4086, bytes: 'SWAPSPACE2', id: [1036, 16] },
  { name: 'swap space', offset: 4086, bytes: 'SWAP-SPACE' },
  { name: 'an ext2/3/4 file system', offset: 1080, bytes: '\x53\xef', id: [1128, 16] },
  { name: 'an xfs file system', offset: 0, bytes: 'XFSB', id: [32, 16] },
  { name: 'a btrfs file system', offset: 65_600, bytes: '_BHRfS_M', id: [65_568, 16] },
  { name: 'an f2fs file system', offset: 1024, bytes: '\x10\x20\xf5\xf2', id: [1132, 16] },
  { name: 'a squashfs file system', offset: 0, bytes: 'hsqs' },
  { name: 'an ISO 9660 file system', offset: 32_769, bytes: 'CD001' },
  { name: 'an NTFS file system', offset: 3, bytes: 'NTFS    ', id: [72, 8] },
  { name: 'an exFAT file system', offset: 3, bytes: 'EXFAT   ', id: [100, 4] },
  { name: 'a FAT file system', offset: 54, bytes: 'FAT', id: [39, 4] },
  { name: 'a FAT file system', offset: 82, bytes: 'FAT32', id: [67, 4] },
  { name: 'a GPT partition table', offset: 512, bytes: 'EFI PART', id: [568, 16] },
  { name: 'a GPT partition table', offset: 4096, bytes: 'EFI PART', id: [4152, 16] },
];

const MBR = { mark: 510, table: 446, entryBytes: 16, entries: 4 } as const;

/** `head`: the first SIGNATURE_BYTES, or all there is. What it is in words, or undefined. */
export function signatureOf(head: Uint8Array): string | undefined {
  const found = MARKS.find(({ offset, bytes }) => hasBytes(head, offset, bytes));
  if (found !== undefined) return found.name;
  return hasPartitions(head) ? 'an MBR partition table' : undefined;
}

/** The same for two copies of one content, even if one has been in use since; undefined: no id. */
export function contentIdOf(head: Uint8Array): string | undefined {
  const found = MARKS.find(({ offset, bytes }) => hasBytes(head, offset, bytes));
  if (found?.id === undefined) return undefined;
  const [offset, length] = found.id;
  if (offset + length > head.length) return undefined;
  return `${found.name} ${head.subarray(offset, offset + length).join('.')}`;
}

function hasBytes(head: Uint8Array, offset: number, bytes: string): boolean {
  if (offset + bytes.length > head.length) return false;
  for (let i = 0; i < bytes.length; i += 1) {
    if (head[offset + i] !== bytes.charCodeAt(i)) return false;
  }
  return true;
}

/** The mark alone is also that of any boot sector: at least one entry must be one. */
function hasPartitions(head: Uint8Array): boolean {
  if (!hasBytes(head, MBR.mark, '\x55\xaa')) return false;
  let used = 0;
  for (let i = 0; i < MBR.entries; i += 1) {
    const at = MBR.table + i * MBR.entryBytes;
    const status = head[at];
    const type = head[at + 4];
    if (status !== 0 && status !== 0x80) return false;
    if (type !== 0) used += 1;
  }
  return used > 0;
}
