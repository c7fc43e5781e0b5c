import { spawnSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { contentIdOf, signatureOf, SIGNATURE_BYTES } from '../../../daemon/devices/signature.ts';
import { tempDirectory } from '../../support/temp.ts';

function headWith(offset: number, bytes: string): Uint8Array {
  const head = new Uint8Array(SIGNATURE_BYTES);
  head.set(Buffer.from(bytes, 'latin1'), offset);
  return head;
}

describe('signatureOf', () => {
  it.each([
    [0, 'XFSB', 'an xfs file system'],
    [1080, '\x53\xef', 'an ext2/3/4 file system'],
    [65_600, '_BHRfS_M', 'a btrfs file system'],
    [4086, 'SWAPSPACE2', 'swap space'],
    [0, 'LUKS\xba\xbe', 'a LUKS volume'],
    [512, 'LABELONE', 'an LVM physical volume'],
    [4096, '\xfc\x4e\x2b\xa9', 'a member of a Linux md array'],
    [3, 'NTFS    ', 'an NTFS file system'],
    [82, 'FAT32', 'a FAT file system'],
    [512, 'EFI PART', 'a GPT partition table'],
    [446, `\x80\0\0\0\x83${'\0'.repeat(59)}\x55\xaa`, 'an MBR partition table'],
  ])('at %d: %j is %s', (offset, bytes, name) => {
    expect(signatureOf(headWith(offset, bytes))).toBe(name);
  });

  it('takes nothing for something', () => {
    expect(signatureOf(new Uint8Array(0))).toBeUndefined();
    expect(signatureOf(new Uint8Array(SIGNATURE_BYTES))).toBeUndefined();
    expect(signatureOf(new Uint8Array(SIGNATURE_BYTES).fill(0x55))).toBeUndefined();
    expect(signatureOf(headWith(510, '\x55\xaa'))).toBeUndefined();
    expect(signatureOf(headWith(446, `\x07\0\0\0\x83${'\0'.repeat(59)}\x55\xaa`))).toBeUndefined();
  });

  it('knows what mke2fs makes', () => {
    const path = join(folder, 'fs.img');
    writeFileSync(path, '');
    truncateSync(path, 2 ** 20);
    expect(spawnSync('mke2fs', ['-q', '-F', path]).status).toBe(0);
    expect(signatureOf(readFileSync(path))).toBe('an ext2/3/4 file system');
  });
});

const folder = tempDirectory();

describe('contentIdOf', () => {
  function withUuid(first: number, mounts: number): Uint8Array {
    const head = headWith(1080, '\x53\xef');
    head[1128] = first;
    head[1076] = mounts;
    return head;
  }

  it('is the same for one file system in use, another for another', () => {
    expect(contentIdOf(withUuid(1, 0))).toMatch(/^an ext2\/3\/4 file system 1\.0\./);
    expect(contentIdOf(withUuid(1, 9))).toBe(contentIdOf(withUuid(1, 0)));
    expect(contentIdOf(withUuid(2, 0))).not.toBe(contentIdOf(withUuid(1, 0)));
  });

  it('is unknown for what has none, or ends before it', () => {
    expect(contentIdOf(new Uint8Array(SIGNATURE_BYTES))).toBeUndefined();
    expect(contentIdOf(headWith(0, 'hsqs'))).toBeUndefined();
    expect(contentIdOf(withUuid(1, 0).subarray(0, 1130))).toBeUndefined();
  });
});
