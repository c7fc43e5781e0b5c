import { bytesOfSectors } from '../base/units.ts';
import { REQ_OP, type ReqOp } from '../block/op.ts';
import { Histogram } from './histogram.ts';

/** Operations as reports name them, in the order of `IoStats.ops`. */
export const IO_OPS = ['read', 'write', 'flush', 'discard', 'zeroes'] as const;
export type IoOp = (typeof IO_OPS)[number];

const ZEROES_INDEX = 4;

/** What one operation has done to one device or leg since it was opened. */
export class OpStats {
  errors = 0;
  bytes = 0;
  readonly latency = new Histogram();
}

/** Counters of a device or a leg. Hot: noting is a few additions. */
export class IoStats {
  readonly ops: readonly OpStats[];

  constructor() {
    const ops: OpStats[] = [];
    while (ops.length < IO_OPS.length) ops.push(new OpStats());
    this.ops = ops;
  }

  note(op: ReqOp, sectors: number, tookMs: number, errno: number): void {
    // The other operations' numbers (0..3) are their places.
    const stats = this.ops[op === REQ_OP.WRITE_ZEROES ? ZEROES_INDEX : op]!;
    stats.latency.note(tookMs);
    if (errno === 0) stats.bytes += bytesOfSectors(sectors);
    else stats.errors += 1;
  }
}
