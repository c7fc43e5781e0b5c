// The services on the daemon's engines: the same calls on real files, by Node's fs and by io_uring.
// (In the simulator dm-io carries every byte of test/sim.)
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { BlockDevice } from '../../../core/block/device.ts';
import { DEFAULT_LIMITS } from '../../../core/block/limits.ts';
import { READ, WRITE, DmIoServices } from '../../../core/dm-io/services.ts';
import { openFileDevice } from '../../../daemon/fsio/engine.ts';
import { createNodeLoop } from '../../../daemon/node-loop.ts';
import { UringDevice } from '../../../daemon/uring/engine.ts';
import { pattern, whole } from '../../support/dm-io-fixture.ts';
import { tempDirectory } from '../../support/temp.ts';
import { pollingPlane } from '../../support/uring-plane.ts';

const directory = tempDirectory();

interface Files {
  readonly devices: readonly BlockDevice[];
  close(): Promise<void>;
}

const paths = (engine: string): string[] =>
  ['a', 'b'].map((name) => join(directory, `${engine}-${name}`));

async function openOnNode(): Promise<Files> {
  const loop = createNodeLoop();
  const options = { loop, readOnly: false, exclusive: true, create: { sizeBytes: 64 * 512 } };
  const files = await Promise.all(paths('node').map((path) => openFileDevice(path, options)));
  return {
    devices: files,
    close: async () => {
      for (const file of files) await file.close();
    },
  };
}

function openOnUring(): Promise<Files> {
  const { plane, stop } = pollingPlane();
  const devices = paths('uring').map((name) => {
    writeFileSync(name, new Uint8Array(64 * 512));
    const options = { sectors: 64, limits: DEFAULT_LIMITS, direct: false };
    return new UringDevice(plane.engine, { ...options, name, fd: openSync(name, 'r+') });
  });
  const close = async (): Promise<void> => {
    await stop();
    for (const { fd } of devices) closeSync(fd);
  };
  return Promise.resolve({ devices, close });
}

it.each([
  ['node', openOnNode],
  ['uring', openOnUring],
] as const)(
  '%s: mirrors to two files asynchronously, reads back synchronously',
  async (engine, open) => {
    const { devices, close } = await open();
    const services = new DmIoServices();
    services.get(1);
    const bits = await new Promise<bigint>((resolve) => {
      const fn = (errorBits: { toBigInt(): bigint }): void => resolve(errorBits.toBigInt());
      services.asyncVm(devices.map(whole), WRITE, pattern(64), fn, null);
    });
    expect(bits).toBe(0n);
    for (const path of paths(engine)) expect(readFileSync(path).equals(pattern(64))).toBe(true);
    const data = new Uint8Array(64 * 512);
    expect(services.syncVm(devices.slice(1).map(whole), READ, data).ret).toBe(0);
    expect(data).toEqual(pattern(64));
    expect(services.syncVm(devices.map(whole), WRITE, pattern(64, 7)).ret).toBe(0);
    for (const path of paths(engine)) expect(readFileSync(path).equals(pattern(64, 7))).toBe(true);
    services.put(1);
    expect(services.isTornDown).toBe(true);
    await close();
  },
);
