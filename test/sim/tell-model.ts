import { ERRNO } from '../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP, type ReqOp } from '../../core/block/op.ts';
import type { Value } from './content.ts';
import type { Entry, Model, Verdict } from './model.ts';

/** A world, simulated or not, as the model and the laws of reading know it. */
export interface Judged {
  readonly model: Model;
  /** Counts what happens; the model's time. */
  readonly step: number;
  /** The step at which the oldest request under way was called. */
  oldestCall(): number;
}

/** A request that has ended, of whatever world. */
export interface EndedOp {
  readonly op: ReqOp;
  readonly flags: number;
  readonly sector: number;
  readonly error: number;
  /** The world's step of the call. */
  readonly from: number;
  /** The model's entries of a write, by sector. */
  readonly entries: readonly Entry[];
  /** What the model says to each sector a read has brought. */
  readonly verdicts: Verdict[];
  eachRead(visit: (sector: number, value: Value) => void): void;
  /** For people. */
  toString(): string;
}

/** A request has ended: what the model learns of it. */
export function tellModel(world: Judged, op: EndedOp): void {
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
