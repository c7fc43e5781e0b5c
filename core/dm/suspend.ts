import { assert } from '../base/assert.ts';
import { Bio } from '../block/bio.ts';
import { REQ_OP } from '../block/op.ts';
import type { MappedDevice } from './mapped-device.ts';
import type { Target } from './target.ts';

/**
 * `dmsetup suspend`: new bios are kept back, those under way end, targets stop what they do by
 * themselves; then all is flushed (unless `flush` is false, `--noflush`) and targets may record that.
 * With an errno the device is as it was before: it serves.
 */
export function suspend(device: MappedDevice, flush: boolean, done: (errno: number) => void): void {
  const targets = device.table.entries.map(({ target }) => target);
  const end = (errno: number): void => {
    if (errno !== 0) resume(device);
    done(errno);
  };
  const quiet = (): void => {
    if (!flush) {
      end(0);
      return;
    }
    flushHeld(device, (errno) => {
      if (errno === 0) settleAll(targets, end);
      else end(errno);
    });
  };
  device.hold({
    complete: () => {
      quiesceAll(targets, quiet);
    },
  });
  for (const target of targets) target.presuspend?.();
}

/** `dmsetup resume`: targets go on, then the bios that were kept back, in order of arrival. */
export function resume(device: MappedDevice): void {
  for (const { target } of device.table.entries) target.resume?.();
  device.release();
}

function quiesceAll(targets: readonly Target[], done: () => void): void {
  let left = 1;
  const one = (): void => {
    left -= 1;
    assert(left >= 0, 'a target became quiet twice');
    if (left === 0) done();
  };
  for (const target of targets) {
    if (target.quiesce === undefined) continue;
    left += 1;
    target.quiesce(one);
  }
  one();
}

/** The first errno is told. */
function settleAll(targets: readonly Target[], done: (errno: number) => void): void {
  let left = 1;
  let first = 0;
  const one = (errno: number): void => {
    if (first === 0) first = errno;
    left -= 1;
    assert(left >= 0, 'a target settled twice');
    if (left === 0) done(first);
  };
  for (const target of targets) {
    if (target.settle === undefined) continue;
    left += 1;
    target.settle(one);
  }
  one(0);
}

function flushHeld(device: MappedDevice, done: (errno: number) => void): void {
  const bio = new Bio();
  bio.op = REQ_OP.FLUSH;
  bio.owner = {
    endIo: () => {
      done(bio.error);
    },
  };
  device.submitHeld(bio);
}
