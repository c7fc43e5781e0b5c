// The files that are served: random data (holes and zeroes can be answered without reading), on a real
// disk, in the page cache. Made when first asked for, gone with the folder.
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Children } from './children.ts';

const CHUNK_BYTES = 4 * 2 ** 20;
/** Behind what is served: the native log's metadata go there. */
const METADATA_BYTES = 4 * 2 ** 20;
/** A part is whole requests of 4 KiB. */
const PART_UNIT = 4096;
const TMPFS_MAGIC = 0x01021994;
const DROP_LIMIT_MS = 60_000;

export class LegFiles {
  readonly sizeBytes: number;
  private readonly folder: string;
  private readonly made = new Set<string>();
  /** Written since they were last put into the page cache. */
  private readonly touched = new Set<string>();
  private readonly partsBy = new Map<number, LegFiles>();

  constructor(folder: string, sizeBytes: number) {
    this.folder = folder;
    this.sizeBytes = sizeBytes;
  }

  /** Equal files. Those for O_DIRECT are others: it would push the cached ones out of the page cache. */
  async of(kind: 'cached' | 'direct', count: number): Promise<readonly string[]> {
    const paths = Array.from({ length: count }, (_, i) => join(this.folder, `${kind}${i}.img`));
    const first = join(this.folder, 'cached0.img');
    if (!this.made.has(first)) {
      writeRandom(first, this.sizeBytes + METADATA_BYTES);
      this.touched.add(first);
    }
    this.made.add(first);
    for (const path of paths) {
      if (this.made.has(path)) continue;
      await copyFile(first, path);
      this.touch([path]);
      this.made.add(path);
    }
    return paths;
  }

  /** As many smaller devices as make up one leg. */
  parts(count: number): LegFiles {
    const known = this.partsBy.get(count);
    if (known !== undefined) return known;
    const folder = join(this.folder, `parts-${count}`);
    mkdirSync(folder);
    const parts = new LegFiles(folder, Math.floor(this.sizeBytes / count / PART_UNIT) * PART_UNIT);
    this.partsBy.set(count, parts);
    return parts;
  }

  /** A turn has written to them. */
  touch(paths: readonly string[]): void {
    settle(paths);
    for (const path of paths) this.touched.add(path);
  }

  /**
   * Every turn finds the page cache as the kernel makes it from a file that is read from its beginning to its
   * end. How it is cut into folios decides what a small write costs, and servers leave it cut differently.
   */
  async refresh(paths: readonly string[], children: Children): Promise<void> {
    for (const path of paths) {
      if (!this.touched.delete(path)) continue;
      const drop = [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'];
      await children.run(['dd', ...drop, 'status=none'], this.folder, DROP_LIMIT_MS);
      readAll(path);
    }
  }
}

function readAll(path: string): void {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const fd = openSync(path, 'r');
  try {
    while (readSync(fd, chunk) > 0);
  } finally {
    closeSync(fd);
  }
}

function writeRandom(path: string, sizeBytes: number): void {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const fd = openSync(path, 'w');
  try {
    for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
      randomFillSync(chunk);
      writeSync(fd, chunk, 0, Math.min(CHUNK_BYTES, sizeBytes - at), at);
    }
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** What one turn left dirty is written before the next one, not during it. */
export function settle(paths: readonly string[]): void {
  for (const path of paths) {
    const fd = openSync(path, 'r+');
    try {
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

export function isInMemory(folder: string): boolean {
  return statfsSync(folder).type === TMPFS_MAGIC;
}
