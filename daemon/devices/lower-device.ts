/**
 * A device of another thread, as the control thread reads and writes it: a bio is a call there and
 * back, with a copy of its bytes. For metadata, where nothing is fast; data goes inside one thread.
 */
import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';
import { hasData, REQ_OP, type ReqOp } from '../../core/block/op.ts';
import type { Runner } from './runner.ts';

/** A bio as it crosses threads. */
export interface BlockOrder {
  readonly op: ReqOp;
  readonly flags: number;
  readonly sector: number;
  readonly sectors: number;
  /** Of a WRITE. */
  readonly bytes: Uint8Array | null;
}

/** How it ended. */
export interface BlockAnswer {
  readonly errno: number;
  /** Of a READ. */
  readonly bytes: Uint8Array | null;
}

/** Does it where the device lives. */
export function orderBlock(
  device: BlockDevice,
  { op, flags, sector, sectors, bytes }: BlockOrder,
  done: (answer: BlockAnswer) => void,
): void {
  const bio = new Bio();
  bio.op = op;
  bio.flags = flags;
  bio.sector = sector;
  bio.sectors = sectors;
  const memory = op === REQ_OP.READ ? new Uint8Array(bytesOfSectors(sectors)) : bytes;
  if (memory !== null) bio.setBuffer(memory, 0, memory.length);
  bio.owner = {
    endIo: () => {
      done({ errno: bio.error, bytes: op === REQ_OP.READ ? memory : null });
    },
  };
  device.submit(bio);
}

export class LowerDevice implements BlockDevice {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;
  private readonly runner: Runner;

  /** `name`: as a leg, `dm:NAME`. */
  constructor(name: string, runner: Runner, loop: Loop) {
    const { sectors, limits } = runner.below();
    this.name = name;
    this.sectors = sectors;
    this.limits = limits;
    this.loop = loop;
    this.runner = runner;
  }

  submit(bio: Bio): void {
    void this.order(bio).then((errno) => {
      bio.error = errno;
      this.loop.defer(bio);
    });
  }

  private async order(bio: Bio): Promise<number> {
    const { op, flags, sector, sectors } = bio;
    const bytes = op === REQ_OP.WRITE ? gather(bio) : null;
    try {
      const answer = await this.runner.call('block', { op, flags, sector, sectors, bytes });
      if (answer.errno === 0 && answer.bytes !== null) scatter(answer.bytes, bio);
      return answer.errno;
    } catch {
      // Its thread has ended.
      return ERRNO.ENXIO;
    }
  }
}

function gather(bio: Bio): Uint8Array {
  const bytes = new Uint8Array(bytesOfSectors(bio.sectors));
  forEachPiece(bio, (page, offset, length, at) => {
    bytes.set(page.subarray(offset, offset + length), at);
  });
  return bytes;
}

function scatter(bytes: Uint8Array, bio: Bio): void {
  forEachPiece(bio, (page, offset, length, at) => {
    page.set(bytes.subarray(at, at + length), offset);
  });
}

/** The table of pieces may hold more than the bio moves. */
function forEachPiece(
  bio: Bio,
  see: (page: Uint8Array, offset: number, length: number, at: number) => void,
): void {
  assert(hasData(bio.op), 'a bio without memory has no pieces');
  const wanted = bytesOfSectors(bio.sectors);
  let at = 0;
  for (const { page, offset, length } of bio.vecs.slice(0, bio.vecCount)) {
    const piece = Math.min(length, wanted - at);
    if (piece > 0) see(page, offset, piece, at);
    at += piece;
  }
}
