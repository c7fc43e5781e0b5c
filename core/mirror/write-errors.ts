import { ERRNO } from '../base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { STANDING } from './leg.ts';
import { lose } from './losses.ts';
import type { MirrorSet } from './set.ts';
import type { MirrorWrite } from './write.ts';

/**
 * What a write's error bits mean. Returns what the client is told: 0 or an errno.
 *
 * | on a member it   | a leg answered       | then                                                    |
 * |------------------|----------------------|---------------------------------------------------------|
 * | worked           | an error             | the leg is failed; the client sees success              |
 * | any              | EOPNOTSUPP           | the range is in doubt: some legs did it, some did not   |
 * | is not supported | EOPNOTSUPP only      | EOPNOTSUPP; no leg changed, none is marked              |
 * | is not supported | an error             | the leg is failed: the member holds all but the range   |
 * | failed on all    | errors               | no leg is failed (the last copy never is); the range is |
 * |                  |                      | in doubt, and the client sees the error                 |
 *
 * A member that does not know the operation was given nothing, so it has lost nothing either, whatever
 * the FUA of the others has come to. EOPNOTSUPP of a WRITE_ZEROES goes up even when some leg did it: the
 * caller writes zeros instead, to all legs alike. A DISCARD is a hint, there the client sees success.
 */
export function settleWriteErrors(set: MirrorSet, write: MirrorWrite): number {
  const { request } = write;
  // Some member did it, or does not know it: it holds what it held.
  let memberIsWhole = false;
  let unsupported = 0;
  for (let i = 0; i < request.regionCount; i += 1) {
    const failed = request.errorBits.test(i);
    const isUnsupported = failed && request.regions[i]?.error === ERRNO.EOPNOTSUPP;
    if (isUnsupported) unsupported += 1;
    const isWhole = !failed || isUnsupported;
    if (isWhole && write.legOfRegion[i]?.standing === STANDING.MEMBER) memberIsWhole = true;
  }
  if (unsupported === request.regionCount) return ERRNO.EOPNOTSUPP;
  const errno = errnoOfMember(write);
  if (memberIsWhole) failWriters(set, write);
  else failNobody(set, write);
  if (unsupported > 0) {
    set.putInDoubt(write.firstRegion, write.lastRegion);
    set.recovery.kick();
    return request.op === REQ_OP.DISCARD ? 0 : ERRNO.EOPNOTSUPP;
  }
  return memberIsWhole ? 0 : errno;
}

function failWriters(set: MirrorSet, write: MirrorWrite): void {
  const { request } = write;
  for (let i = 0; i < request.regionCount; i += 1) {
    const leg = write.legOfRegion[i];
    const errno = request.regions[i]?.error ?? ERRNO.EIO;
    if (leg === undefined || !request.errorBits.test(i) || errno === ERRNO.EOPNOTSUPP) continue;
    leg.outOfSync.setRange(write.firstRegion, write.lastRegion);
    if (leg.isActive) set.failLeg(leg, errno === ERRNO.ETIMEDOUT ? 'timeout' : 'write', errno);
    else if (errno !== ERRNO.ETIMEDOUT) leg.noteError('write', errno);
  }
}

/** Every member failed: the range may hold anything on any of them, and the client will be told so. */
function failNobody(set: MirrorSet, write: MirrorWrite): void {
  const { request } = write;
  set.noteBroken();
  for (let i = 0; i < request.regionCount; i += 1) {
    if (!request.errorBits.test(i)) continue;
    write.legOfRegion[i]?.noteError('write', request.regions[i]?.error ?? ERRNO.EIO);
  }
  set.putInDoubt(write.firstRegion, write.lastRegion);
  // The error may be that of a flush, and then it is not only about this range (D8).
  if ((request.flags & REQ_FLAG.FUA) !== 0) {
    for (let i = 0; i < request.regionCount; i += 1) {
      const leg = write.legOfRegion[i];
      if (leg !== undefined && request.errorBits.test(i)) set.distrust(leg);
    }
    lose(set, errnoOfMember(write));
  }
  set.recovery.kick();
}

function errnoOfMember(write: MirrorWrite): number {
  for (let i = 0; i < write.request.regionCount; i += 1) {
    if (!write.request.errorBits.test(i)) continue;
    if (write.legOfRegion[i]?.standing === STANDING.MEMBER) {
      return write.request.regions[i]?.error ?? ERRNO.EIO;
    }
  }
  return ERRNO.EIO;
}
