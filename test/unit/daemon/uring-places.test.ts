// What a leg that comes again and again leaves behind in the ring of its thread: nothing.
import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Bio } from '../../../core/block/bio.ts';
import { DEFAULT_LIMITS } from '../../../core/block/limits.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { UringDevice } from '../../../daemon/uring/engine.ts';
import type { DataPlane } from '../../../daemon/uring/plane.ts';
import { tempDirectory } from '../../support/temp.ts';
import { pollingPlane } from '../../support/uring-plane.ts';

const SECTORS = 128;
const path = join(tempDirectory(), 'leg');

/** Opens the leg, flushes it, closes it. */
async function comeAndGo(plane: DataPlane): Promise<number> {
  const fds = [openSync(path, 'r+'), openSync(path, 'r+')] as const;
  const facts = { sectors: SECTORS, limits: DEFAULT_LIMITS, direct: false };
  const device = new UringDevice(plane.engine, {
    name: 'leg',
    fd: fds[0],
    syncFds: [fds[1]],
    ...facts,
  });
  const errno = await new Promise<number>((done) => {
    const bio = new Bio();
    bio.op = REQ_OP.FLUSH;
    bio.owner = { endIo: ({ error }) => done(error) };
    device.submit(bio);
  });
  for (const fd of fds) closeSync(fd);
  return errno;
}

it('a leg opened a hundred times has no more places in the ring than one opened once', async () => {
  writeFileSync(path, '');
  truncateSync(path, SECTORS * 512);
  const { plane, stop } = pollingPlane();
  expect(await comeAndGo(plane)).toBe(0);
  const places = plane.ring.places;
  for (let i = 0; i < 100; i += 1) expect(await comeAndGo(plane)).toBe(0);
  expect(plane.ring.places).toBe(places);
  await stop();
});
