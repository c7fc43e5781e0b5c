import type { Bio } from '../block/bio.ts';
import type { ZeroQuery } from '../block/run.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { Coverage } from '../nbd/coverage.ts';
import { COMMAND, COMMAND_FLAG } from '../nbd/proto.ts';
import { Digest } from './digest.ts';
import type { LinkCheck } from './link-check.ts';

/**
 * One bio on its way to a server. The record stays with its bio through a lost link: where the bio
 * waits is where the record is (a queue, a link's table, a slot's parking place).
 */
export class RemoteRequest {
  /** Null: a question about zeros, or a FLUSH of the device's own. */
  bio: Bio | null = null;
  query: ZeroQuery | null = null;
  /** The device's own READ, to see who answers a new connection. */
  check: LinkCheck | null = null;
  /** Of a mutation: what its first sector holds afterwards, and the device's count of failed flushes. */
  readonly digest = new Digest();
  epoch = 0;
  /** Of a mutation: it was sent, once or more. */
  isBegun = false;
  /** Of a mutation: another one of its sectors was under way with it; the server takes them in any order. */
  isMingled = false;
  /** Of the query: bytes its answer has covered so far. */
  toldBytes = 0;
  /** Of COMMAND and COMMAND_FLAG: what is sent. */
  type: number = COMMAND.READ;
  flags = 0;
  /** A FLUSH follows: the server has no FUA. */
  needsFlush = false;
  /** The device's clock when it came; it may wait no longer than the time-out. */
  tick = 0;
  isOverdue = false;
  /** Acknowledged writes that a FLUSH covers. */
  mark = 0;
  /** In its link's table: every byte of it was handed to the kernel. */
  isSent = false;
  /**
   * The errno of its reply, or -1. A reply may be here before we know that the last byte of the message
   * it came in was sent; the request ends when its memory is no longer read.
   */
  answer = -1;
  /** The first error chunk of its reply, as an errno. */
  error = 0;
  readonly coverage = new Coverage();
  // Neighbours in the order of age.
  older: RemoteRequest | null = null;
  younger: RemoteRequest | null = null;

  /** From its beginning: also when it is sent again. */
  prepare(hasFua: boolean, canZero: boolean): void {
    const bio = this.bio;
    this.isSent = false;
    this.error = 0;
    this.needsFlush = false;
    this.flags = 0;
    if (this.query !== null) {
      this.type = COMMAND.BLOCK_STATUS;
      return;
    }
    this.type = bio === null ? COMMAND.FLUSH : commandOf(bio, canZero);
    if (bio === null || this.type === COMMAND.FLUSH || this.type === COMMAND.READ) return;
    if (bio.op === REQ_OP.WRITE_ZEROES && (bio.flags & REQ_FLAG.NOUNMAP) !== 0) {
      this.flags |= COMMAND_FLAG.NO_HOLE;
    }
    if ((bio.flags & REQ_FLAG.FUA) === 0) return;
    if (hasFua) this.flags |= COMMAND_FLAG.FUA;
    else this.needsFlush = true;
  }

  /** It may change what the server holds. */
  get isMutation(): boolean {
    const { type } = this;
    return type !== COMMAND.READ && type !== COMMAND.FLUSH && type !== COMMAND.BLOCK_STATUS;
  }
}

function commandOf(bio: Bio, canZero: boolean): number {
  switch (bio.op) {
    case REQ_OP.READ:
      return COMMAND.READ;
    case REQ_OP.WRITE:
      return COMMAND.WRITE;
    case REQ_OP.FLUSH:
      return COMMAND.FLUSH;
    case REQ_OP.WRITE_ZEROES:
      return COMMAND.WRITE_ZEROES;
    case REQ_OP.DISCARD:
      return canZero ? COMMAND.WRITE_ZEROES : COMMAND.TRIM;
  }
}
