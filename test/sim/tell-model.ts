import { ERRNO } from '../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import type { ClientOp } from './op.ts';
import type { World } from './world.ts';

/** A request has ended: what the model learns of it. */
export function tellModel(world: World, op: ClientOp): void {
  const { model, step } = world;
  if (op.op === REQ_OP.READ) {
    if (op.error !== ERRNO.OK) return;
    op.eachRead((sector, value) => {
      op.verdicts.push(model.read(sector, value, op.from, step));
    });
  } else if (op.op === REQ_OP.FLUSH) {
    if (op.error === ERRNO.OK) model.flushed(op.from, world.oldestCall());
    else model.flushFailed(step);
  } else {
    const decided = op.error === ERRNO.OK && op.op !== REQ_OP.DISCARD;
    const fua = (op.flags & REQ_FLAG.FUA) !== 0;
    for (const [i, entry] of op.entries.entries()) {
      if (decided) model.acknowledged(op.sector + i, entry, op.from, step, fua);
      else model.undecided(entry, step);
    }
  }
}
