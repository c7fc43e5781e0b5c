// The services on the daemon's file engine: the same calls, on real files and Node's event loop.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { READ, WRITE, DmIoServices } from '../../../core/dm-io/services.ts';
import { openFileDevice } from '../../../daemon/fsio/engine.ts';
import { createNodeLoop } from '../../../daemon/node-loop.ts';
import { pattern, whole } from '../../support/dm-io-fixture.ts';
import { tempDirectory } from '../../support/temp.ts';

const directory = tempDirectory();

it('mirrors to two files asynchronously, and reads one back synchronously', async () => {
  const loop = createNodeLoop();
  const options = { loop, readOnly: false, exclusive: true, create: { sizeBytes: 64 * 512 } };
  const paths = ['a', 'b'].map((name) => join(directory, name));
  const files = await Promise.all(paths.map((path) => openFileDevice(path, options)));
  const services = new DmIoServices();
  services.get(1);
  const bits = await new Promise<bigint>((resolve) => {
    const fn = (errorBits: { toBigInt(): bigint }): void => resolve(errorBits.toBigInt());
    services.asyncVm(files.map(whole), WRITE, pattern(64), fn, null);
  });
  expect(bits).toBe(0n);
  for (const path of paths) expect(readFileSync(path).equals(pattern(64))).toBe(true);
  const data = new Uint8Array(64 * 512);
  expect(services.syncVm(files.slice(1).map(whole), READ, data).ret).toBe(0);
  expect(data).toEqual(pattern(64));
  expect(services.syncVm(files.map(whole), WRITE, pattern(64, 7)).ret).toBe(0);
  for (const path of paths) expect(readFileSync(path).equals(pattern(64, 7))).toBe(true);
  services.put(1);
  expect(services.isTornDown).toBe(true);
  for (const file of files) await file.close();
});
