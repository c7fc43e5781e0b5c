// The devices a user of the library meets keep the contract too: core's MemoryDevice, and the file device
// that examples/ shows.
import { join } from 'node:path';
import { truncateSync, writeFileSync } from 'node:fs';
import { MemoryDevice } from '../../core/block/memory-device.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { createManualLoop } from '../support/manual-loop.ts';
import { ROOT } from '../support/root.ts';
import { tempDirectory } from '../support/temp.ts';
import { suite } from './block-device.ts';
import type { DeviceFactory } from './block-device.ts';

const SECTORS = 1024;
const SUPPORTS = { storesData: true, startsZeroed: true, readOnly: true, sync: true };

function memory(logicalBlockSize: number): DeviceFactory {
  return ({ readOnly }) => {
    const limits = { ...DEFAULT_LIMITS, logicalBlockSize, readOnly };
    const loop = createManualLoop();
    const device = new MemoryDevice(loop, SECTORS, limits);
    return { device, close: () => expect(loop.run()).toBe(0) };
  };
}

suite('core MemoryDevice', memory(512), SUPPORTS);
suite('core MemoryDevice of 4 KiB blocks', memory(4096), SUPPORTS);

interface Example {
  makeLoop(): Loop;
  openFile(loop: Loop, path: string, mode: string): BlockDevice & { close(): void };
}

const directory = tempDirectory();
const example = (await import(join(ROOT, 'examples/file-device.js'))) as Example;
let files = 0;

suite(
  'the file device of examples/',
  ({ readOnly }) => {
    const path = join(directory, `${(files += 1)}.img`);
    writeFileSync(path, '');
    truncateSync(path, SECTORS * 512);
    const device = example.openFile(example.makeLoop(), path, readOnly ? 'r' : 'r+');
    return { device, close: () => device.close() };
  },
  SUPPORTS,
);
