import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';

import { FolioSplitter } from '../../../daemon/uring/folio-split.ts';
import { folioSplitterFor, keepsLargeFolios } from '../../../daemon/uring/folios.ts';
import { splitCachedFolio } from '../../../daemon/uring/syscall.ts';
import { tempDirectory } from '../../support/temp.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const directory = tempDirectory();

describe('when a folio is split', () => {
  const splitter = (fileBytes: number): { readonly at: number[]; readonly it: FolioSplitter } => {
    const at: number[] = [];
    return { at, it: new FolioSplitter(7, fileBytes, (_, offset) => at.push(offset)) };
  };

  it('is once for each 256 KiB that small writes come to', () => {
    const { at, it } = splitter(64 * MIB);
    for (const offset of [0, 4096, 255 * KIB, 256 * KIB, 300 * KIB, 64 * MIB - 4096, 0]) {
      it.beforeWrite(offset);
    }
    expect(at).toEqual([0, 256 * KIB, 64 * MIB - 4096]);
  });

  it('is again after many writes: what was dirty may be clean, or read anew', () => {
    const { at, it } = splitter(MIB);
    for (let i = 0; i < 2 ** 18; i += 1) it.beforeWrite(0);
    expect(at.length).toBe(2);
  });

  it('stays rare on a file of many folios', () => {
    const { at, it } = splitter(16 * 1024 * MIB);
    const writes = 2 ** 22;
    for (let i = 0; i < writes; i += 1) it.beforeWrite(((i * 7919) % 65536) * 256 * KIB);
    expect(at.length).toBeLessThanOrEqual(writes / 32);
  });
});

describe('splitting', () => {
  const contents = randomBytes(4 * MIB + 100);
  const open = (): number => {
    const path = join(directory, 'leg');
    writeFileSync(path, contents);
    return openSync(path, 'r+');
  };

  it('changes no byte, and leaves nothing mapped', () => {
    const fd = open();
    for (let offset = 0; offset < contents.length; offset += 64 * KIB) splitCachedFolio(fd, offset);
    splitCachedFolio(fd, contents.length - 1);
    expect(readFileSync(join(directory, 'leg')).equals(contents)).toBe(true);
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(directory);
    closeSync(fd);
  });

  it('does nothing behind the end of a file that has shrunk, or without a file', () => {
    const fd = open();
    ftruncateSync(fd, 4096);
    for (const offset of [4096, 2 * MIB, 2 ** 40]) splitCachedFolio(fd, offset);
    closeSync(fd);
    splitCachedFolio(-1, 0);
    const again = open();
    splitCachedFolio(again, 0);
    expect(readFileSync(join(directory, 'leg')).equals(contents)).toBe(true);
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(directory);
    closeSync(again);
  });
});

it.each([
  ['6.18.44-fc-v669', true],
  ['6.16.0', true],
  ['7.0.1', true],
  ['6.15.9', false],
  ['5.19.0', false],
  ['', false],
])('kernel %s keeps ext4 in large folios: %s', (kernel, answer) => {
  expect(keepsLargeFolios(kernel)).toBe(answer);
});

it('a file in memory needs no splitter', () => {
  const fd = openSync('/dev/shm', 'r');
  expect(folioSplitterFor(fd, MIB)).toBeNull();
  closeSync(fd);
});
