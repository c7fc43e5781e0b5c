import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import type { ClientOp } from '../op.ts';
import { fail, type Checker } from './checker.ts';

export const lossTold: Checker = {
  name: 'D8',
  sentence:
    'when a flush has failed on every member, whoever asked for it, each client there is told once at least',
  opEnded(world, op) {
    if (!asksForSafety(op)) return;
    const since = world.owing.get(op.issuer);
    if (since === undefined) return;
    // "Not supported" tells of nothing: he does it another way, and is owed it all the same.
    if (op.error !== ERRNO.OK && op.error !== ERRNO.EOPNOTSUPP) world.owing.delete(op.issuer);
    // A hint that was done by doing nothing has asked nobody.
    if (op.error !== ERRNO.OK || op.op === REQ_OP.DISCARD) return;
    // Another request of his is under way that may be the one to tell him.
    const isAsking = (other: ClientOp): boolean =>
      other.issuer === op.issuer && asksForSafety(other) && other.op !== REQ_OP.DISCARD;
    if (op.from > since && ![...world.ops].some(isAsking))
      fail(lossTold, `${String(op)} went well, and nobody told of step ${since}`);
  },
};

/** What it ends with says whether all before it is durable. */
export function asksForSafety({ op, flags }: ClientOp): boolean {
  return op === REQ_OP.FLUSH || (flags & REQ_FLAG.FUA) !== 0;
}
