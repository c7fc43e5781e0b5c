import { assert } from '../base/assert.ts';
import type { Clock } from '../base/ports.ts';
import { bytesOfSectors, MAX_BYTES, PAGE_SIZE } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { RangeLock } from '../block/range-lock.ts';
import { CONTEXT, LIMIT, TRANSMISSION_FLAG } from '../nbd/proto.ts';
import { encodeUtf8 } from '../nbd/utf8.ts';
import type { IoStats } from '../stats/io-stats.ts';
import type { Offer } from './offer.ts';

/** An export that cannot be: one sentence for the user. */
export class ExportError extends Error {
  override readonly name = 'ExportError';
}

export interface ExportOptions {
  readonly name: string;
  readonly device: BlockDevice;
  readonly readOnly?: boolean;
  readonly description?: string;
  /** Where requests are counted; without it they are not. */
  readonly watch?: RequestWatch;
}

/** Counts what clients ask and how long it takes. */
export interface RequestWatch {
  readonly clock: Clock;
  readonly stats: IoStats;
}

const CAPABILITIES =
  TRANSMISSION_FLAG.HAS_FLAGS |
  TRANSMISSION_FLAG.SEND_FLUSH |
  TRANSMISSION_FLAG.SEND_FUA |
  TRANSMISSION_FLAG.SEND_TRIM |
  TRANSMISSION_FLAG.SEND_WRITE_ZEROES |
  TRANSMISSION_FLAG.SEND_FAST_ZERO |
  TRANSMISSION_FLAG.SEND_CACHE |
  // True, because nothing is kept per connection: all submit to one device, whose contract is that
  // an ended write is visible to every later read and a flush covers every ended write.
  TRANSMISSION_FLAG.CAN_MULTI_CONN;

/** Ids are places counted from 1; BlockStatus knows what each means. */
const CONTEXT_NAMES = [CONTEXT.ALLOCATION, CONTEXT.MIRROR] as const;

/** A device that may have a mirror's state to show. */
type Stateful = BlockDevice & { readonly hasMirrorState?: boolean };

/**
 * A device under a name, shared by all its connections. What must be one for all of them lives
 * here: the lock that keeps read-modify-write apart from other writes, the counts, the shutdown.
 */
export class Export implements Offer {
  readonly name: string;
  readonly description: string;
  readonly device: BlockDevice;
  readonly watch: RequestWatch | null;
  /** Sectors being written. Aligned writes share; read-modify-write excludes all others. */
  readonly writes = new RangeLock();
  /** Sessions in transmission, also those whose client is gone while its requests still run. */
  connections = 0;
  /** Requests handed to the device and not yet ended. */
  requestsInFlight = 0;

  private readonly forcedReadOnly: boolean;
  private shutdown: Promise<void> | undefined;
  private shuttingDown = false;
  private whenIdle: (() => void) | undefined;

  constructor(options: ExportOptions) {
    if (options.name === '') throw new ExportError('an export without a name');
    this.name = textOf('name', options.name);
    this.description = textOf('description', options.description ?? '');
    this.device = options.device;
    this.watch = options.watch ?? null;
    this.forcedReadOnly = options.readOnly ?? false;
    assert(this.sizeBytes <= MAX_BYTES, 'an export larger than 2^53 - 1 bytes');
  }

  /** Asked anew each time: a table may be reloaded with other limits or another length. */
  get readOnly(): boolean {
    return this.forcedReadOnly || this.device.limits.readOnly;
  }

  /** Whole logical blocks only: a part of a block at the end could not be read back. */
  get sizeBytes(): number {
    const bytes = bytesOfSectors(this.device.sectors);
    return bytes - (bytes % this.device.limits.logicalBlockSize);
  }

  get contexts(): readonly string[] {
    const { hasMirrorState } = this.device as Stateful;
    return hasMirrorState === true ? CONTEXT_NAMES : CONTEXT_NAMES.slice(0, 1);
  }

  get transmissionFlags(): number {
    return this.readOnly ? CAPABILITIES | TRANSMISSION_FLAG.READ_ONLY : CAPABILITIES;
  }

  get logicalBlockBytes(): number {
    return this.device.limits.logicalBlockSize;
  }

  get preferredBlockBytes(): number {
    return Math.max(PAGE_SIZE, this.device.limits.logicalBlockSize);
  }

  get isShuttingDown(): boolean {
    return this.shuttingDown;
  }

  beginShutdown(): Promise<void> {
    this.shutdown ??= new Promise((resolve) => {
      this.shutDown(resolve);
    });
    return this.shutdown;
  }

  /** The same for who cannot wait for promises; once. `idle` may be called from inside. */
  shutDown(idle: () => void): void {
    assert(!this.shuttingDown, 'an export was shut down twice');
    this.shuttingDown = true;
    if (this.requestsInFlight === 0) idle();
    else this.whenIdle = idle;
  }

  requestStarted(): void {
    assert(!this.isShuttingDown, 'a request was started after the shutdown began');
    this.requestsInFlight += 1;
  }

  requestEnded(): void {
    assert(this.requestsInFlight > 0, 'more requests ended than were started');
    this.requestsInFlight -= 1;
    if (this.requestsInFlight === 0 && this.whenIdle !== undefined) this.whenIdle();
  }
}

/** proto.md "Conventions": strings are UTF-8 without NUL, of at most 4096 bytes. */
function textOf(what: string, text: string): string {
  const bytes = encodeUtf8(text);
  if (bytes === undefined || bytes.includes(0)) {
    throw new ExportError(`the ${what} of an export is not text, or has a NUL`);
  }
  if (bytes.length > LIMIT.STRING_BYTES) {
    throw new ExportError(`the ${what} of an export is longer than ${LIMIT.STRING_BYTES} bytes`);
  }
  return text;
}
