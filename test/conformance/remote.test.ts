// The block device contract on exports of other people's servers, and of our own, on both engines.
import { join } from 'node:path';

import { SILENT_LOG } from '../../core/base/ports.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { NODE_CLOCK } from '../../daemon/clock.ts';
import { createNodeLoop } from '../../daemon/node-loop.ts';
import { openRemoteLeg } from '../../daemon/remote/leg.ts';
import { blank, FILE_SERVERS, type FileServer } from '../support/remote-servers.ts';
import { legOnPlane } from '../support/remote-plane.ts';
import { tempDirectory } from '../support/temp.ts';
import { suite, type DeviceFactory } from './block-device.ts';
import type { Supports } from './checks.ts';

const SECTORS = 1024;
const REMOTE: Supports = { storesData: true, startsZeroed: true, readOnly: true, sync: false };

const directory = tempDirectory();

for (const [name, start] of Object.entries(FILE_SERVERS)) {
  const file = join(directory, `${name.replaceAll(/\W+/g, '-')}.img`);
  let server: FileServer | undefined;

  const uri = (): string => {
    blank(file, bytesOfSectors(SECTORS));
    return server?.uri ?? '';
  };
  const onNode: DeviceFactory = async ({ readOnly }) => {
    const loop = createNodeLoop();
    const options = { loop, clock: NODE_CLOCK, log: SILENT_LOG, readOnly };
    const device = await openRemoteLeg(uri(), options);
    return { device, close: () => device.close() };
  };

  describe(name, () => {
    beforeAll(async () => {
      blank(file, bytesOfSectors(SECTORS));
      server = await start(directory, file);
    }, 60_000);
    afterAll(() => server?.stop());
    suite(`an export of ${name}, on Node's sockets`, onNode, REMOTE);
    suite(`an export of ${name}, on io_uring`, ({ readOnly }) => legOnPlane(uri(), readOnly), {
      ...REMOTE,
      sync: true,
    });
  });
}
