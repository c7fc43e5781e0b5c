import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import type { ClientOp } from '../op.ts';
import { at } from '../at.ts';
import type { World } from '../world.ts';
import { fail, members, type Checker } from './checker.ts';
import { asksForSafety } from './d8-loss-told.ts';

export const lastCopy: Checker = {
  name: 'I10',
  sentence: 'a client sees an error only where no copy is left, and the last copy is never put out',
  opEnded(world, op) {
    if (members(world).length === 0) fail(lastCopy, 'no member is left');
    if (op.error === ERRNO.OK || isExcused(world, op)) return;
    fail(lastCopy, `${String(op)} ended with errno ${op.error}`);
  },
};

/** A superblock was cut short by a crash: the leg without faults has to be filled again, and is no copy. */
export function isGoodLegBehind(world: World): boolean {
  // Asked at every event.
  if (world.native === null) return false;
  const { atlas, anchor, membersAtFirst } = world.options;
  const inSync = members(world);
  if (atlas !== 'latent') return !inSync.includes(anchor);
  return [...membersAtFirst, ...world.covering].some((leg) => !inSync.includes(leg));
}

/** A superblock or a part of the map is stuck on the leg without faults: nobody could do without it. */
export function isGoodLegHeldUp(world: World): boolean {
  const { metaFaultEvery, anchor } = world.options;
  return metaFaultEvery > 0 && at(world.disks, anchor).stuckUntilMs > world.clock.nowMs();
}

function isExcused(world: World, op: ClientOp): boolean {
  if (op.error === ERRNO.EOPNOTSUPP) {
    return op.op === REQ_OP.WRITE_ZEROES || op.op === REQ_OP.DISCARD;
  }
  if (world.recorder.failures > op.recorderFailures) return true;
  if (isGoodLegBehind(world)) return true;
  // By md's rule, whatever sectors of the others nobody has found to be unreadable yet.
  if (world.options.atlas === 'latent' && world.hasGivenUpReader) return true;
  // Of a loss before the members of today had joined (D8): he is owed it, or it is still to be written again.
  const isBroken = world.options.atlas === 'broken';
  if (isBroken || world.hasLostUncovered) {
    if (asksForSafety(op) && isLossLeft(world, op)) return true;
    // All that were members while it was under way failed to keep something: its mark, perhaps.
    if (op.isWrite && world.daemon.set.losses.serial > op.lossesBefore) return true;
  }
  if (!isBroken) return false;
  // Every member has given an error since the call, or before it and has been given up there.
  return members(world).every((leg) => at(world.disks, leg).struckAt >= 0);
}

function isLossLeft({ owing, daemon }: World, { issuer }: ClientOp): boolean {
  return owing.has(issuer) || daemon.set.legs.some(({ lost }) => lost.count > 0);
}
