// The block device contract on io_uring: a file, a mirror of three files, a table across two.
import { closeSync, constants, openSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { bytesOfSectors } from '../../core/base/units.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import { UringDevice } from '../../daemon/uring/engine.ts';
import type { DataPlane } from '../../daemon/uring/plane.ts';
import { mapDevice } from '../support/mapped.ts';
import { mirrorOf } from '../support/mirror.ts';
import { tempDirectory } from '../support/temp.ts';
import { pollingPlane } from '../support/uring-plane.ts';
import { suite } from './block-device.ts';
import type { DeviceFactory } from './block-device.ts';
import type { Supports } from './checks.ts';

const SECTORS = 1024;
const DISK: Supports = { storesData: true, startsZeroed: true, readOnly: false, sync: true };
const directory = tempDirectory();
let files = 0;

function openFile(plane: DataPlane, name: string, direct = false): UringDevice {
  files += 1;
  const path = join(directory, `leg-${files}.img`);
  writeFileSync(path, '');
  truncateSync(path, bytesOfSectors(SECTORS));
  const flags = constants.O_RDWR | (direct ? constants.O_DIRECT : 0);
  const options = { sectors: SECTORS, limits: DEFAULT_LIMITS, direct };
  return new UringDevice(plane.engine, { ...options, name, fd: openSync(path, flags) });
}

/** `make`: the device over fresh files with these names. */
function over(
  names: readonly string[],
  make: (files: Readonly<Record<string, UringDevice>>) => BlockDevice,
  direct = false,
): DeviceFactory {
  return () => {
    const { plane, stop } = pollingPlane();
    const opened = names.map((name) => openFile(plane, name, direct));
    return {
      device: make(Object.fromEntries(opened.map((device) => [device.name, device]))),
      close: async () => {
        expect(opened.map(({ inFlight }) => inFlight)).toEqual(opened.map(() => 0));
        await stop();
        for (const { fd } of opened) closeSync(fd);
      },
    };
  };
}

const TWO_LINES = '0 301 linear a 7\n301 723 linear b 100\n';

suite(
  'a file on io_uring',
  over(['a'], ({ a }) => a as UringDevice),
  DISK,
);
suite(
  'a file with O_DIRECT on io_uring',
  over(['a'], ({ a }) => a as UringDevice, true),
  DISK,
);
suite(
  'two lines over two files on io_uring',
  over(['a', 'b'], (devices) => {
    const { loop } = devices['a'] as UringDevice;
    return mapDevice(TWO_LINES, { loop, devices });
  }),
  DISK,
);
suite(
  'a mirror of three files on io_uring',
  over(['a', 'b', 'c'], (devices) => mirrorOf(Object.values(devices))),
  DISK,
);
