/**
 * What the control plane asks of a device where it lives: in this thread, or in one of its own.
 * Arguments and answers are plain data, for they may cross threads. A handler answers once, at once
 * or later, with callbacks: a data-plane thread never returns to Node's loop, so promises end nowhere.
 */
import { ControlError } from '../../core/control/error.ts';
import { errnoName } from '../../core/base/errno.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import { REQ_OP } from '../../core/block/op.ts';
import type { OfferFacts } from '../worker/messages.ts';
import type { MappedDevice } from '../../core/dm/mapped-device.ts';
import { flushSuspended, resume, suspend } from '../../core/dm/suspend.ts';
import { TableError } from '../../core/dm/target.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { Assembled } from './assemble.ts';
import { orderBlock, type BlockAnswer, type BlockOrder } from './lower-device.ts';
import { LEG_HANDLERS, type LegCalls } from './leg-calls.ts';
import { snapshotOf, type DeviceSnapshot } from './runner.ts';
import { orderResync, orderScrub, statsOf } from './upkeep.ts';
import type { DeviceStats, ResyncOrder, ScrubOrder, UpkeepAnswer } from './upkeep.ts';

/** Every call: its arguments and its answer. */
interface DeviceCalls extends LegCalls {
  /** `cells`: width of the region map; 0: none is wanted. */
  snapshot: { readonly args: { readonly cells: number } | null; readonly value: DeviceSnapshot };
  scrub: { readonly args: ScrubOrder; readonly value: UpkeepAnswer };
  resync: { readonly args: ResyncOrder; readonly value: UpkeepAnswer };
  stats: { readonly args: null; readonly value: DeviceStats };
  /** Answered when nothing is under way; with `flush`, when all is durable. */
  suspend: { readonly args: { readonly flush: boolean }; readonly value: null };
  resume: { readonly args: null; readonly value: null };
  /** A suspended device makes ready for another table: all is durable, its mirror records no more. */
  freeze: { readonly args: null; readonly value: FrozenMirror };
  /** It keeps its table after all. */
  thaw: { readonly args: null; readonly value: null };
  /** Who is in sync, as it would be recorded; null for a table without a mirror. */
  'mirror-record': { readonly args: null; readonly value: MirrorRecord | null };
  /** The first bytes of the device; fewer when it is shorter. */
  head: { readonly args: { readonly sectors: number }; readonly value: Uint8Array };
  /** For a device above that lives elsewhere: lower-device.ts. */
  block: { readonly args: BlockOrder; readonly value: BlockAnswer };
  /** Lent to a device that stands on it, or not any more; what its clients are told from now on. */
  lend: { readonly args: { readonly isLent: boolean }; readonly value: OfferFacts };
  message: {
    readonly args: { readonly sector: number; readonly words: readonly string[] };
    readonly value: string;
  };
}

interface FrozenMirror {
  readonly record: MirrorRecord | null;
  readonly eventNr: number;
}

export type CallName = keyof DeviceCalls;
export type CallArgs<C extends CallName> = DeviceCalls[C]['args'];
export type CallValue<C extends CallName> = DeviceCalls[C]['value'];

export interface Answer<V> {
  done(value: V): void;
  refuse(error: ControlError): void;
}

type Handlers = {
  /** May also throw a ControlError: the same as `refuse`. */
  readonly [C in CallName]: (
    parts: Assembled,
    args: CallArgs<C>,
    answer: Answer<CallValue<C>>,
  ) => void;
};

const HANDLERS: Handlers = {
  snapshot: ({ mapped, mirror }, args, answer) => {
    answer.done(snapshotOf(mapped, mirror, args?.cells ?? 0));
  },
  suspend: ({ mapped }, { flush }, answer) => {
    suspend(mapped, flush, (errno) => {
      if (errno === 0) answer.done(null);
      else answer.refuse(notDurable(mapped.name, 'is not suspended', errno));
    });
  },
  resume: ({ mapped }, _, answer) => {
    resume(mapped);
    answer.done(null);
  },
  freeze: ({ mapped, mirror }, _, answer) => {
    const [leaving] = mirror?.leaving ?? [];
    if (leaving !== undefined) {
      throw new ControlError('busy', `leg ${leaving.name} of ${mapped.name} is being removed`);
    }
    flushSuspended(mapped, (errno) => {
      if (errno !== 0) answer.refuse(notDurable(mapped.name, 'keeps its table', errno));
      else if (mirror === null) answer.done({ record: null, eventNr: 0 });
      else {
        mirror.freeze((record) => {
          if (!mirror.hasLate()) {
            answer.done({ record, eventNr: mirror.eventNr });
            return;
          }
          // The next table would take the leg in while old writes may still land there.
          mirror.thaw();
          const late = mirror.legs.find(({ inFlight }) => inFlight > 0)?.name ?? 'that is leaving';
          answer.refuse(busyLeg(mapped.name, late));
        });
      }
    });
  },
  thaw: ({ mirror }, _, answer) => {
    mirror?.thaw();
    answer.done(null);
  },
  'mirror-record': ({ mirror }, _, answer) => {
    answer.done(mirror === null ? null : mirror.record());
  },
  head: ({ mapped }, { sectors }, answer) => {
    readHead(mapped, Math.min(sectors, mapped.sectors), answer);
  },
  block: ({ mapped }, order, answer) => {
    orderBlock(mapped, order, (ended) => answer.done(ended));
  },
  lend: (parts, { isLent }, answer) => {
    parts.exported.isLent = isLent;
    answer.done(offerFacts(parts));
  },
  message: ({ mapped }, { sector, words }, answer) => {
    answer.done(message(mapped, sector, words));
  },
  ...LEG_HANDLERS,
  scrub: ({ mapped, mirror }, order, answer) => {
    answer.done(orderScrub(mapped.name, mirror, order));
  },
  resync: ({ mapped, mirror }, order, answer) => {
    answer.done(orderResync(mapped.name, mirror, order));
  },
  stats: (parts, _, answer) => {
    answer.done(statsOf(parts));
  },
};

export function offerFacts({ exported, mapped }: Assembled): OfferFacts {
  const { sizeBytes, readOnly, transmissionFlags } = exported;
  const { logicalBlockBytes, preferredBlockBytes, contexts } = exported;
  const { sectors, limits } = mapped;
  return {
    sizeBytes,
    readOnly,
    transmissionFlags,
    logicalBlockBytes,
    preferredBlockBytes,
    contexts,
    sectors,
    limits,
  };
}

function readHead(mapped: MappedDevice, sectors: number, answer: Answer<Uint8Array>): void {
  const bytes = new Uint8Array(bytesOfSectors(sectors));
  const bio = new Bio();
  bio.op = REQ_OP.READ;
  bio.sectors = sectors;
  bio.setBuffer(bytes, 0, bytes.length);
  bio.owner = {
    endIo: () => {
      if (bio.error === 0) answer.done(bytes);
      else answer.refuse(new ControlError('io', `${mapped.name}: ${errnoName(bio.error)}`));
    },
  };
  mapped.submit(bio);
}

function busyLeg(name: string, leg: string): ControlError {
  const why = 'has requests under way that it has not answered in time';
  return new ControlError('busy', `${name} keeps its table: leg ${leg} ${why}`);
}

function notDurable(name: string, what: string, errno: number): ControlError {
  const why = `its last flush or record failed: ${errnoName(errno)}`;
  return new ControlError('io', `device ${name} ${what}: ${why}`);
}

/** @throws ControlError bad-argument, unsupported */
function message(mapped: MappedDevice, sector: number, words: readonly string[]): string {
  if (sector >= mapped.sectors) {
    throw new ControlError(
      'bad-argument',
      `sector ${sector}: device ${mapped.name} has sectors 0 to ${mapped.sectors - 1}`,
    );
  }
  const { target } = mapped.table.find(sector);
  if (target.message === undefined) {
    const { name } = target.type;
    throw new ControlError('unsupported', `device ${mapped.name}: ${name} takes no messages`);
  }
  try {
    return target.message(words);
  } catch (error) {
    if (!(error instanceof TableError)) throw error;
    throw new ControlError('bad-argument', `device ${mapped.name}: ${error.message}`);
  }
}

/** Runs a call on a device that lives in this thread. */
export function callDevice<C extends CallName>(
  parts: Assembled,
  name: C,
  args: CallArgs<C>,
  answer: Answer<CallValue<C>>,
): void {
  try {
    HANDLERS[name](parts, args, answer);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    answer.refuse(error);
  }
}
