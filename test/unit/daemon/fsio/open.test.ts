import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { ERRNO } from '../../../../core/base/errno.ts';
import { checkDistinct, openFileDevice } from '../../../../daemon/fsio/engine.ts';
import type { OpenFileOptions } from '../../../../daemon/fsio/engine.ts';
import { OpenError } from '../../../../daemon/fsio/open-error.ts';
import { createNodeLoop } from '../../../../daemon/node-loop.ts';
import { describeAsRoot, isRoot, runProgram } from '../../../support/root-only.ts';
import { tempDirectory } from '../../../support/temp.ts';

const MIB = 1048576;
const directory = tempDirectory();
const loop = createNodeLoop();
const WRITE: OpenFileOptions = { loop, readOnly: false, exclusive: true };
const CREATE: OpenFileOptions = { ...WRITE, create: { sizeBytes: MIB } };

function at(name: string): string {
  return join(directory, name);
}

function makeFile(name: string, bytes = MIB): string {
  fs.writeFileSync(at(name), Buffer.alloc(bytes, 7));
  return at(name);
}

async function expectRefused(
  code: string,
  sentence: string,
  path: string,
  options = WRITE,
): Promise<void> {
  const error = await openFileDevice(path, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(OpenError);
  expect(error).toMatchObject({ code, message: sentence });
}

/** Another process that holds the file's lock until it is let go. */
async function lockElsewhere(path: string): Promise<() => Promise<void>> {
  const script = 'exec 9<>"$0"; flock -n 9 && echo locked && cat';
  const holder = spawn('sh', ['-c', script, path], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await once(holder.stdout, 'data');
  return async () => {
    holder.stdin.end();
    await once(holder, 'exit');
  };
}

describe('openFileDevice refuses', () => {
  it('a file that is not there', async () => {
    await expectRefused('missing', `${at('none')} does not exist`, at('none'));
  });

  it('a new file where no directory is', async () => {
    const path = at('nowhere/leg.img');
    const sentence = `${path} cannot be made: ${at('nowhere')} does not exist`;
    await expectRefused('missing', sentence, path, CREATE);
  });

  it('a path through a file', async () => {
    const path = `${makeFile('plain')}/leg.img`;
    const sentence = `${path} does not exist: a part of its path is not a directory`;
    await expectRefused('missing', sentence, path, CREATE);
  });

  it('a new file to be read only, and one where a symbolic link is in the way', async () => {
    const readOnly = { ...CREATE, readOnly: true };
    await expectRefused('missing', `${at('unread')} does not exist`, at('unread'), readOnly);
    fs.symlinkSync(at('nothing'), at('dangling'));
    const sentence = 'is a symbolic link to nothing, or was made by somebody else just now';
    await expectRefused('failed', `${at('dangling')} ${sentence}`, at('dangling'), CREATE);
    expect([at('unread'), at('nothing')].map((path) => fs.existsSync(path))).toEqual([
      false,
      false,
    ]);
  });

  it('a directory', async () => {
    const sentence = `${directory} is a directory, a file or a block device is wanted`;
    await expectRefused('directory', sentence, directory);
    await expectRefused('directory', sentence, directory, CREATE);
  });

  it('a FIFO, without waiting for its other end', async () => {
    runProgram('mkfifo', at('fifo'));
    const sentence = `${at('fifo')} is a FIFO, a file or a block device is wanted`;
    await expectRefused('not-a-device', sentence, at('fifo'));
    await expectRefused('not-a-device', sentence, at('fifo'), { ...WRITE, readOnly: true });
  });

  it('a socket', async () => {
    const server = net.createServer().listen(at('socket'));
    await once(server, 'listening');
    const sentence = `${at('socket')} is a socket, a file or a block device is wanted`;
    await expectRefused('not-a-device', sentence, at('socket'));
    server.close();
  });

  it('a character device', async () => {
    const sentence = '/dev/null is a character device, a file or a block device is wanted';
    await expectRefused('not-a-device', sentence, '/dev/null');
  });

  it('an empty file', async () => {
    const path = makeFile('empty', 0);
    await expectRefused('empty', `${path} is empty`, path);
  });

  it('a file that is no whole number of sectors', async () => {
    const path = makeFile('odd', 1000);
    await expectRefused('size', `${path} has 1000 bytes, not a multiple of 512`, path);
  });

  it('a file of another user', async () => {
    const path = makeFile('private');
    fs.chmodSync(path, 0);
    const sentence = `${path} may not be opened: permission denied`;
    if (isRoot) process.seteuid?.(65534);
    try {
      await expectRefused('permission', sentence, path);
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  it('a file that another process has locked, until it lets go', async () => {
    const path = makeFile('locked');
    const letGo = await lockElsewhere(path);
    const sentence = `${path} is in use: another process holds its lock`;
    await expectRefused('busy', sentence, path);
    const reader = await openFileDevice(path, { loop, readOnly: true, exclusive: false });
    await reader.close();
    await letGo();
    const device = await openFileDevice(path, WRITE);
    await device.close();
  });

  it('a file it has open already, by whatever name', async () => {
    const path = makeFile('once');
    fs.symlinkSync(path, at('symbolic'));
    fs.linkSync(path, at('hard'));
    const device = await openFileDevice(path, WRITE);
    await expectRefused('busy', `${path} is already open in this process`, path);
    for (const name of ['symbolic', 'hard']) {
      const sentence = `${at(name)} is already open in this process as ${path}`;
      await expectRefused('busy', sentence, at(name), CREATE);
    }
    await device.close();
    const again = await openFileDevice(at('hard'), WRITE);
    expect(again.identity).toBe(device.identity);
    await again.close();
    expect(fs.statSync(path).size).toBe(MIB);
  });

  it('everything when there is no flock, and makes nothing', async () => {
    const syscalls = { reason: 'koffi is not there' };
    const sentence = `${at('unlocked')} cannot be locked: no flock, koffi is not there`;
    await expectRefused('failed', sentence, at('unlocked'), { ...CREATE, syscalls });
    expect(fs.existsSync(at('unlocked'))).toBe(false);
  });
});

describe('openFileDevice makes', () => {
  it('a sparse file of the wanted size, its owner alone may read', async () => {
    const device = await openFileDevice(at('new'), CREATE);
    expect(device.sectors).toBe(2048);
    const { size, blocks, mode } = fs.statSync(at('new'));
    expect([size, blocks, mode & 0o777]).toEqual([MIB, 0, 0o600]);
    await device.close();
  });

  it('nothing of a file that is there', async () => {
    const device = await openFileDevice(makeFile('old', 4096), CREATE);
    expect(device.sectors).toBe(8);
    await device.abandon();
    expect(fs.readFileSync(at('old'))).toEqual(Buffer.alloc(4096, 7));
  });

  it('an empty file full, and empty again when it is abandoned', async () => {
    const path = makeFile('was-empty', 0);
    const device = await openFileDevice(path, CREATE);
    expect(fs.statSync(path).size).toBe(MIB);
    await device.abandon();
    expect(fs.statSync(path).size).toBe(0);
  });

  it('a file that is gone when it is abandoned', async () => {
    const device = await openFileDevice(at('brief'), CREATE);
    await device.abandon();
    expect(fs.existsSync(at('brief'))).toBe(false);
  });

  it('no file when the file system cannot hold it', async () => {
    const create = { sizeBytes: Number.MAX_SAFE_INTEGER - 511 };
    const sentence = `${at('vast')} cannot be made that large on its file system`;
    await expectRefused('size', sentence, at('vast'), { ...WRITE, create });
    expect(fs.existsSync(at('vast'))).toBe(false);
  });

  it.each([0, 1000])('no file of %i bytes', async (sizeBytes) => {
    await expect(openFileDevice(at('bad'), { ...WRITE, create: { sizeBytes } })).rejects.toThrow(
      OpenError,
    );
    expect(fs.existsSync(at('bad'))).toBe(false);
  });

  it('no descriptor that stays open after a refusal', async () => {
    const count = (): number => fs.readdirSync('/proc/self/fd').length;
    const path = makeFile('odd-again', 1000);
    await expect(openFileDevice(path, WRITE)).rejects.toThrow(OpenError);
    const before = count();
    for (let i = 0; i < 10; i += 1) {
      await expect(openFileDevice(path, WRITE)).rejects.toThrow(OpenError);
    }
    expect(count()).toBe(before);
  });
});

describe('checkDistinct', () => {
  it('sees the same file through links, and not what is not there yet', async () => {
    const [a, b] = [makeFile('distinct-a'), makeFile('distinct-b')];
    fs.symlinkSync(a, at('a-symbolic'));
    fs.linkSync(a, at('a-hard'));
    await expect(checkDistinct([a, b, at('later'), at('later-too')])).resolves.toBeUndefined();
    const sameFile = {
      code: 'same-file',
      message: `${a} and ${at('a-symbolic')} are the same file`,
    };
    await expect(checkDistinct([a, b, at('a-symbolic')])).rejects.toMatchObject(sameFile);
    await expect(checkDistinct([b, at('a-hard'), a])).rejects.toMatchObject({ code: 'same-file' });
    const twice = { code: 'same-file', message: `${a} is named twice` };
    await expect(checkDistinct([a, a])).rejects.toMatchObject(twice);
  });
});

describe('an open file', () => {
  it('is not closed with I/O in flight', async () => {
    const device = await openFileDevice(makeFile('in-flight'), WRITE);
    expect(device.inFlight).toBe(0);
    await device.close();
    await expect(device.close()).rejects.toThrow('a file closed twice');
  });
});

describeAsRoot('a file system of 1 MiB', () => {
  const mount = at('mount');

  beforeAll(() => {
    fs.mkdirSync(mount);
    runProgram('mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', mount);
  });

  afterAll(() => {
    runProgram('umount', mount);
  });

  it('is refused when it is read-only', async () => {
    const path = join(mount, 'leg.img');
    fs.writeFileSync(path, Buffer.alloc(4096));
    runProgram('mount', '-o', 'remount,ro', mount);
    try {
      await expectRefused('read-only', `${path} is on a read-only file system`, path);
      const other = join(mount, 'other.img');
      await expectRefused('read-only', `${other} is on a read-only file system`, other, CREATE);
      const device = await openFileDevice(path, { ...WRITE, readOnly: true });
      expect(device.limits.readOnly).toBe(true);
      await device.close();
    } finally {
      runProgram('mount', '-o', 'remount,rw', mount);
    }
  });

  it('answers ENOSPC when it is full, and works again when it is not', async () => {
    const { Bench } = await import('../../../conformance/bench.ts');
    const path = join(mount, 'large.img');
    const create = { sizeBytes: 4 * MIB };
    const device = await openFileDevice(path, { ...WRITE, create });
    const bench = new Bench(device);
    const bytes = new Uint8Array(2 * MIB).fill(1);
    const fields = { op: 1, sectors: 4096, bytes } as const;
    await bench.expect(ERRNO.ENOSPC, 'a WRITE of 2 MiB', fields);
    await bench.expect(ERRNO.OK, 'a WRITE_ZEROES', { op: 9, sectors: 8192 });
    await bench.expect(ERRNO.OK, 'a WRITE that fits', { op: 1, sectors: 8, bytes });
    await device.abandon();
    expect(fs.existsSync(path)).toBe(false);
  });
});
