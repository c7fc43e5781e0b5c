// A request of a client to a real daemon, as the model and the laws of reading know it.
import { REQ_FLAG, REQ_OP, opName, type ReqOp } from '../../../core/block/op.ts';
import { SECTOR_SIZE } from '../../../core/base/units.ts';
import { COMMAND, COMMAND_FLAG } from '../../../core/nbd/proto.ts';
import { request } from '../../support/nbd-messages.ts';
import { decodeSector, encodeSector, ZEROS, type Value } from '../content.ts';
import type { Entry, Verdict } from '../model.ts';
import type { EndedOp } from '../tell-model.ts';
import type { OpShape } from '../workload.ts';

const WORDS = SECTOR_SIZE / 4;

const COMMANDS: Readonly<Record<ReqOp, number>> = {
  [REQ_OP.READ]: COMMAND.READ,
  [REQ_OP.WRITE]: COMMAND.WRITE,
  [REQ_OP.FLUSH]: COMMAND.FLUSH,
  [REQ_OP.DISCARD]: COMMAND.TRIM,
  [REQ_OP.WRITE_ZEROES]: COMMAND.WRITE_ZEROES,
};

export class RealOp implements EndedOp {
  readonly id: number;
  readonly op: ReqOp;
  readonly flags: number;
  readonly sector: number;
  readonly sectors: number;
  readonly value: Value;
  readonly from: number;
  readonly entries: Entry[] = [];
  readonly verdicts: Verdict[] = [];
  error = 0;
  private data = new Uint8Array(0);

  constructor(shape: OpShape, id: number, value: Value, from: number) {
    this.op = shape.op;
    this.flags = shape.flags;
    this.sector = shape.sector;
    this.sectors = shape.sectors;
    this.id = id;
    this.value = value;
    this.from = from;
  }

  get isWrite(): boolean {
    return this.op !== REQ_OP.READ && this.op !== REQ_OP.FLUSH;
  }

  get effect(): Value {
    return this.op === REQ_OP.WRITE ? this.value : ZEROS;
  }

  /** Bytes behind a good reply. */
  get replyBytes(): number {
    return this.op === REQ_OP.READ ? this.sectors * SECTOR_SIZE : 0;
  }

  message(): Uint8Array {
    const fields = {
      type: COMMANDS[this.op],
      cookie: this.id,
      flags: (this.flags & REQ_FLAG.FUA) === 0 ? 0 : COMMAND_FLAG.FUA,
      offset: this.sector * SECTOR_SIZE,
      length: this.sectors * SECTOR_SIZE,
    };
    if (this.op !== REQ_OP.WRITE) return request(fields);
    const words = new Uint32Array(this.sectors * WORDS);
    for (let i = 0; i < this.sectors; i += 1) {
      encodeSector(words, i * WORDS, this.value, this.sector + i);
    }
    return request(fields, new Uint8Array(words.buffer));
  }

  answered(error: number, data: Uint8Array): void {
    this.error = error;
    this.data = new Uint8Array(data);
  }

  eachRead(visit: (sector: number, value: Value) => void): void {
    for (const [i, value] of valuesIn(this.data, this.sector).entries()) {
      visit(this.sector + i, value);
    }
  }

  toString(): string {
    const fua = this.flags === 0 ? '' : ' FUA';
    const value = this.op === REQ_OP.WRITE ? ` =${this.value}` : '';
    return `#${this.id} ${opName(this.op)}${fua} ${this.sector}+${this.sectors}${value}`;
  }
}

/** What whole sectors hold, the first of which is `first`; `bytes` begins on a word. */
export function valuesIn(bytes: Uint8Array, first: number): Value[] {
  const words = new Uint32Array(new Uint8Array(bytes).buffer);
  return Array.from({ length: words.length / WORDS }, (_, i) =>
    decodeSector(words, i * WORDS, first + i),
  );
}
