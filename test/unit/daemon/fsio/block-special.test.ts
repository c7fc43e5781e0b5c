import fs from 'node:fs';
import { join } from 'node:path';
import { deviceNumber } from '../../../../daemon/fsio/block-device-facts.ts';
import { checkDistinct, openFileDevice } from '../../../../daemon/fsio/engine.ts';
import { createNodeLoop } from '../../../../daemon/node-loop.ts';
import { suite } from '../../../conformance/block-device.ts';
import { describeAsRoot, runProgram } from '../../../support/root-only.ts';
import { tempDirectory } from '../../../support/temp.ts';

describe('deviceNumber', () => {
  it.each([
    [0x0810n, '8:16'],
    [0xfe00n, '254:0'],
    [0x10300n, '259:0'],
    [0x100800n, '8:256'],
    [0x12300000n | 0x0801n, '8:74497'],
  ])('splits %i as %s', (rdev, name) => {
    expect(deviceNumber(rdev)).toBe(name);
  });

  it.each(['/dev/null', '/dev/zero', '/dev/full'])('agrees with sysfs about %s', (path) => {
    const number = deviceNumber(fs.statSync(path, { bigint: true }).rdev);
    expect(fs.existsSync(`/sys/dev/char/${number}`)).toBe(true);
  });
});

describeAsRoot('a loop device', () => {
  const directory = tempDirectory();
  const image = join(directory, 'image');
  const loop = createNodeLoop();
  const options = { loop, readOnly: false, exclusive: true };
  let path = '';

  beforeAll(() => {
    fs.writeFileSync(image, '');
    fs.truncateSync(image, 1048576);
    path = runProgram('losetup', '-f', '--show', '-b', '4096', image);
  });

  afterAll(() => {
    runProgram('losetup', '-d', path);
  });

  suite(
    'a loop device in blocks of 4096',
    async ({ readOnly }) => {
      const device = await openFileDevice(path, { ...options, readOnly });
      return { device, close: () => device.close() };
    },
    { storesData: true, startsZeroed: true, readOnly: true, sync: true },
  );

  it('says what it is', async () => {
    const device = await openFileDevice(path, options);
    expect(device.sectors).toBe(2048);
    expect(device.limits).toMatchObject({ logicalBlockSize: 4096, maxDiscardSectors: 0 });
    expect(device.limits.maxWriteZeroesSectors).toBeGreaterThan(0);
    await device.close();
  });

  it('is one device under two nodes', async () => {
    const { rdev } = fs.statSync(path);
    const node = join(directory, 'node');
    runProgram('mknod', node, 'b', String(rdev >> 8), String(rdev & 0xff));
    await expect(checkDistinct([path, node])).rejects.toMatchObject({ code: 'same-file' });
    const device = await openFileDevice(path, options);
    await expect(openFileDevice(node, options)).rejects.toMatchObject({ code: 'busy' });
    await device.close();
  });

  it('is refused when the system uses it', async () => {
    runProgram('mke2fs', '-q', '-F', path);
    const mount = join(directory, 'mounted');
    fs.mkdirSync(mount);
    runProgram('mount', path, mount);
    try {
      const sentence = `${path} is in use by the system, as a mounted file system for example`;
      const refusal = { code: 'busy', message: sentence };
      await expect(openFileDevice(path, options)).rejects.toMatchObject(refusal);
    } finally {
      runProgram('umount', mount);
    }
  });

  it('is refused for writing when it is read-only', async () => {
    runProgram('blockdev', '--setro', path);
    try {
      const refusal = { code: 'read-only', message: `${path} is a read-only device` };
      await expect(openFileDevice(path, options)).rejects.toMatchObject(refusal);
      const device = await openFileDevice(path, { ...options, readOnly: true });
      await device.close();
    } finally {
      runProgram('blockdev', '--setrw', path);
    }
  });
});
