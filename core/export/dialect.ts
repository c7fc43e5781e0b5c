import type { Arena } from '../block/arena.ts';
import type { Agreement } from '../nbd/agreement.ts';
import { REPLY_STYLE, type ReplyStyle } from '../nbd/chunk.ts';
import { COMMAND_FLAG } from '../nbd/proto.ts';
import { readU64 } from '../nbd/wire.ts';
import { BlockStatus } from './block-status.ts';
import type { Export } from './export.ts';
import type { Request } from './request.ts';
import { FAULT } from './faults.ts';
import { isInside } from './validate.ts';

/** u64 effect length before the ids in the payload of BLOCK_STATUS. */
const EFFECT_BYTES = 8;
const ID_BYTES = 4;

/** How one connection talks, and its means to say what a range is. */
export class Dialect {
  readonly style: ReplyStyle;
  private readonly contexts: number;
  private readonly status: BlockStatus;
  private readonly view: DataView;
  // The question, kept here so that asking allocates nothing.
  offset = 0;
  effectBytes = 0;
  asked = 0;

  constructor(agreed: Agreement, arena: Arena) {
    this.style = agreed.style;
    this.contexts = agreed.contexts;
    this.status = new BlockStatus(agreed.style);
    this.view = new DataView(arena.bytes.buffer, arena.bytes.byteOffset, arena.bytes.length);
  }

  /** Writes the reply of a BLOCK_STATUS into its slot, or refuses it. */
  writeStatus(request: Request, target: Export): void {
    this.offset = request.offset;
    this.effectBytes = request.lengthBytes;
    this.asked = this.contexts;
    if (this.style === REPLY_STYLE.EXTENDED && !this.readPayload(request)) {
      request.refuse(FAULT.BAD_CONTEXTS);
    } else if (this.effectBytes === 0) {
      request.refuse(FAULT.NO_RANGE);
    } else if (!isInside(target, this.offset, this.effectBytes)) {
      request.refuse(FAULT.READ_PAST_END);
    } else {
      request.statusBytes = this.status.write(target.device, this, request, this.view);
    }
  }

  /** "BLOCK_STATUS_PAYLOAD": the ids of some of the selected contexts, each once. False: they are not. */
  private readPayload(request: Request): boolean {
    if ((request.flags & COMMAND_FLAG.PAYLOAD_LEN) === 0) return true;
    const end = request.lengthBytes;
    if (end <= EFFECT_BYTES || (end - EFFECT_BYTES) % ID_BYTES !== 0) return false;
    this.effectBytes = readU64(this.view, request.slot);
    this.asked = 0;
    for (let at = EFFECT_BYTES; at < end; at += ID_BYTES) {
      const id = this.view.getUint32(request.slot + at);
      const bit = id >= 1 && id <= 2 ? id : 0;
      if ((this.contexts & bit) === 0 || (this.asked & bit) !== 0) return false;
      this.asked |= bit;
    }
    return true;
  }
}
