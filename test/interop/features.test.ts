// Every feature by the tools people use, on files through both the node engine and a table of
// targets: a row is a feature, a column a tool.
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { engineInUse, startServe } from '../support/programs.ts';
import { runBeside, runWell } from '../support/run.ts';
import { tempDirectory } from '../support/temp.ts';

const MIB = 2 ** 20;
const TOOL_MS = 120_000;
const dir = tempDirectory();

/** Data in MiB 1 and 3, holes elsewhere, 8 MiB long. */
function sparseFile(name: string): string {
  const path = join(dir, name);
  closeSync(openSync(path, 'w'));
  truncateSync(path, 8 * MIB);
  const fd = openSync(path, 'r+');
  for (const at of [1, 3]) writeSync(fd, Buffer.alloc(MIB, 0x41 + at), 0, MIB, at * MIB);
  closeSync(fd);
  return path;
}

async function served(...args: readonly string[]): Promise<string> {
  const one = await startServe(dir, ...args, '--socket', 'nbd.sock', '--name', 'disk');
  return /at (\S+)/.exec(one.stdout)?.[1] ?? '';
}

async function nbdsh(uri: string, code: string): Promise<string> {
  const prelude = `import errno\nh.add_meta_context("base:allocation")\nh.add_meta_context("x-dmiod:mirror")\nh.connect_uri("${uri}")\n`;
  return (await runWell('nbdsh', ['-c', prelude + code])).trim();
}

const MAP = [
  '0 1048576 3',
  '1048576 1048576 0',
  '2097152 1048576 3',
  '3145728 1048576 0',
  '4194304 4194304 3',
];
const mapOf = (text: string): string[] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).slice(0, 3).join(' '));

describe(`a sparse file, engine ${engineInUse()}`, () => {
  it(
    'nbdinfo, qemu-img and nbdcopy see its holes',
    async () => {
      const uri = await served('--linear', sparseFile('a.img'));
      expect(mapOf(await runWell('nbdinfo', ['--map', uri]))).toEqual(MAP);
      const map = JSON.parse(
        await runWell('qemu-img', ['map', '--output=json', '-f', 'raw', uri]),
      ) as {
        start: number;
        length: number;
        zero: boolean;
      }[];
      expect(map.map(({ start, length, zero }) => `${start} ${length} ${zero ? 3 : 0}`)).toEqual(
        MAP,
      );
      const copy = join(dir, 'copy');
      await runWell('nbdcopy', [uri, copy]);
      expect((await runBeside(dir, 'cmp', 'a.img', 'copy')).code).toBe(0);
      expect(Number((await runBeside(dir, 'stat', '-c', '%b', 'copy')).stdout)).toBeLessThan(
        3 * 2048,
      );
    },
    TOOL_MS,
  );

  it(
    'a mirror shows what all legs agree on, and its state',
    async () => {
      const legs = [sparseFile('m0.img'), sparseFile('m1.img')];
      const uri = await served('--mirror', ...legs, '--assume-clean');
      expect(mapOf(await runWell('nbdinfo', ['--map', uri]))).toEqual(MAP);
      expect(mapOf(await runWell('nbdinfo', ['--map=x-dmiod:mirror', uri]))).toEqual([
        `0 ${8 * MIB} 0`,
      ]);
      const info = JSON.parse(await runWell('nbdinfo', ['--json', uri])) as {
        exports: { contexts: string[] }[];
      };
      expect(info.exports[0]?.contexts).toEqual(['base:allocation', 'x-dmiod:mirror']);
    },
    TOOL_MS,
  );

  it(
    'a table of targets is told target by target',
    async () => {
      const uri = await served(
        '--table',
        `0 8192 zero\n8192 8192 linear ${sparseFile('t.img')} 0\n16384 8 error`,
      );
      expect(mapOf(await runWell('nbdinfo', ['--map', uri]))).toEqual([
        '0 5242880 3',
        '5242880 1048576 0',
        '6291456 1048576 3',
        '7340032 1052672 0',
      ]);
    },
    TOOL_MS,
  );
});

describe(`libnbd, engine ${engineInUse()}`, () => {
  it(
    'reads sparse, in chunks, and in one with DF',
    async () => {
      const uri = await served('--linear', sparseFile('b.img'));
      const code = `
def chunks(length, offset, flags=0):
  seen = []
  def chunk(data, at, status, err): seen.append((at // 2**19, len(data) // 2**19, status)); return 0
  h.pread_structured(length, offset, chunk, flags)
  return sorted(seen)
print(chunks(4 * 2**20, 0))
print(len(chunks(4 * 2**20, 0, nbd.CMD_FLAG_DF)))
print(chunks(2**20, 4 * 2**20, nbd.CMD_FLAG_DF))
print(h.pread(8 * 2**20, 0).count(b"B"))`;
      expect((await nbdsh(uri, code)).split('\n')).toEqual([
        '[(0, 2, 2), (2, 2, 1), (4, 2, 2), (6, 2, 1)]',
        '1',
        '[(8, 2, 2)]',
        String(MIB),
      ]);
    },
    TOOL_MS,
  );

  it(
    'zeroes fast, trims, caches, and sees it in the map',
    async () => {
      const uri = await served('--linear', sparseFile('c.img'));
      const code = `
def name(f, *args, **kw):
  try: f(*args, **kw); return "ok"
  except nbd.Error as e: return errno.errorcode[e.errnum]
def status():
  seen = []
  h.block_status(4 * 2**20, 0, lambda c, o, e, err: seen.append(e) if c == "base:allocation" else 0)
  return seen[0]
print(h.can_fast_zero(), h.can_cache(), h.can_df())
fast, whole = nbd.CMD_FLAG_FAST_ZERO, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE
print(name(h.zero, 2**20, 2**20, fast), name(h.zero, 100, 3 * 2**20, fast), name(h.zero, 2**20, 3 * 2**20, whole))
print(name(h.cache, 8 * 2**20, 0), name(h.trim, 2**20, 3 * 2**20), name(h.zero, 8 * 2**20, 0))
print(status(), h.pread(8 * 2**20, 0) == bytes(8 * 2**20))`;
      expect((await nbdsh(uri, code)).split('\n')).toEqual([
        'True True True',
        'ok ENOTSUP ENOTSUP',
        'ok ok ok',
        '[4194304, 3] True',
      ]);
    },
    TOOL_MS,
  );

  it(
    'hears in words what is wrong',
    async () => {
      const uri = await served('--table', '0 1024 error\n1024 1024 zero');
      const { stderr } = await runBeside(dir, 'qemu-io', '-f', 'raw', '-c', 'read 0 4k', uri);
      const code = `
h.set_strict_mode(0)
for f in (lambda: h.pread(512, 0), lambda: h.pread(512, 2**30)):
  try: f()
  except nbd.Error as e: print(errno.errorcode[e.errnum])`;
      expect(await nbdsh(uri, code)).toBe('EIO\nEINVAL');
      expect(stderr).not.toContain('panic');
    },
    TOOL_MS,
  );
});

describe(`access, engine ${engineInUse()}`, () => {
  it(
    'is by the user of the unix socket, and read-only for some',
    async () => {
      const uid = process.getuid?.() ?? 0;
      const mine = await served('--linear', sparseFile('d.img'), '--allow-read', `uid:${uid}`);
      const code = 'print(h.is_read_only(), len(h.pread(512, 0)))';
      expect(await nbdsh(mine, code)).toBe('True 512');
    },
    TOOL_MS,
  );

  it(
    'is refused to others, in words',
    async () => {
      const uri = await served('--linear', sparseFile('e.img'), '--allow', 'uid:54321');
      const { code, stderr } = await runBeside(dir, 'nbdinfo', uri);
      expect(code).not.toBe(0);
      expect(stderr).toContain('server replied with error to opt_go');
    },
    TOOL_MS,
  );
});
