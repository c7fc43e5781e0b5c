// The examples run, on real files, on the library alone: what they copy is equal, and a destination that
// fails is named with its place while the others go on.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Prng } from '../../core/base/prng.ts';
import { ROOT } from '../support/root.ts';

let folder: string;

beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'dmio-examples-'))));
afterEach(() => rmSync(folder, { recursive: true }));

function path(name: string): string {
  return name.startsWith('/') ? name : join(folder, name);
}

function make(name: string, bytes: number, seed = 1): Buffer {
  const prng = new Prng(seed);
  const words = Uint32Array.from({ length: Math.ceil(bytes / 4) }, () => prng.u32());
  const content = Buffer.from(words.buffer, 0, bytes);
  writeFileSync(path(name), content);
  return content;
}

function run(tool: string, ...names: string[]): { status: number | null; stderr: string } {
  const args = [join(ROOT, 'examples', tool), ...names.map(path)];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return { status, stderr: stderr.replaceAll(`${folder}/`, '') };
}

describe.each(['mirrored-copy.js', 'sync-copy.js'])('%s', (tool) => {
  it.each([0, 1, 511, 512, 131_073, 700_001])('copies %d bytes to new files', (bytes) => {
    const content = make('src', bytes);
    expect(run(tool, 'src', 'a', 'b', 'c')).toEqual({ status: 0, stderr: '' });
    for (const name of ['a', 'b', 'c']) expect(readFileSync(path(name)).equals(content)).toBe(true);
  });

  it('keeps the size of an image, and what lies behind', () => {
    const content = make('src', 1000);
    const image = make('image', 5001, 2);
    make('same', 1000, 3);
    expect(run(tool, 'src', 'image', 'same')).toEqual({ status: 0, stderr: '' });
    const found = readFileSync(path('image'));
    expect(found.subarray(0, 1000).equals(content)).toBe(true);
    // The last sector of a copy is whole: SRC's odd end is filled up with zeros.
    expect(found.subarray(1024).equals(image.subarray(1024))).toBe(true);
    expect(readFileSync(path('same')).equals(content)).toBe(true);
  });

  it('names each destination that fails, and where; the others are whole', () => {
    const content = make('src', 400_000);
    make('small', 300_000, 2);
    const { status, stderr } = run(
      tool,
      'src',
      'good',
      '/dev/full',
      'small',
      'no/such',
      '/dev/null',
    );
    expect(status).toBe(1);
    const lines = stderr.trim().split('\n').sort();
    expect(lines).toEqual([
      '/dev/full: failed at byte 0: ENOSPC',
      'no/such: failed at byte 0: ENOENT',
      expect.stringMatching(/^small: failed at byte 262144: EIO/) as string,
    ]);
    expect(readFileSync(path('good')).equals(content)).toBe(true);
  });

  it('names a destination that cannot be written', () => {
    make('src', 5000);
    // Read-only for root too.
    const { status, stderr } = run(tool, 'src', 'good', '/sys/kernel/uevent_seqnum');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^\/sys\/kernel\/uevent_seqnum: failed at byte 0: E(ACCES|ROFS)\n$/);
  });

  it('exits with 2 for a source that is not there, and for usage', () => {
    expect(run(tool, 'src', 'a', 'b')).toEqual({ status: 2, stderr: 'src: ENOENT\n' });
    expect(run(tool, 'src')).toMatchObject({ status: 2 });
    expect(run(tool).stderr).toMatch(/^usage: /);
  });

  it('exits with 2 for a source that opens but cannot be read, and writes nothing', () => {
    expect(run(tool, folder, 'a', 'b')).toMatchObject({ status: 2 });
    expect(readFileSync(path('a')).length).toBe(0);
  });
});
