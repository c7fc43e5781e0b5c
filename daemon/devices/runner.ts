/** What moves a device's data: here in the control thread, or in a thread of its own. */
import { errnoName, ERRNO } from '../../core/base/errno.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { REQ_OP } from '../../core/block/op.ts';
import type {
  DeviceState,
  LegStatus,
  ResyncStatus,
  ScrubStatus,
} from '../../core/control/status.ts';
import type { MappedDevice } from '../../core/dm/mapped-device.ts';
import { formatTable } from '../../core/dm/parse.ts';
import { heatStrip } from '../../core/mirror/heat.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { mirrorStatus, type MirrorStatus } from '../../core/mirror/status.ts';
import type { Assembled } from './assemble.ts';
import type { DeviceIdentity } from '../device-record.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { OpenLegs } from './legs.ts';
import type { Below } from './stack.ts';
import { callDevice, type CallArgs, type CallName, type CallValue } from './calls.ts';

/** Everything people and programs may ask of a device, as of one moment. Plain data. */
export interface DeviceSnapshot {
  readonly sizeBytes: number;
  /** Names of the targets, in the order of the table, each as often as it is there. */
  readonly targets: readonly string[];
  readonly state: DeviceState;
  readonly eventNr: number;
  readonly regions: MirrorStatus['regions'] | null;
  readonly resync: ResyncStatus | null;
  readonly scrub: ScrubStatus | null;
  readonly regionMap: string | null;
  readonly legs: readonly LegStatus[];
  readonly tableLines: readonly string[];
  /** The kernel's: `START LEN TARGET STATUS...`. */
  readonly statusLines: readonly string[];
}

export interface Runner {
  /** @throws ControlError what the call refuses, or that the device's thread has ended */
  call<C extends CallName>(name: C, args: CallArgs<C>): Promise<CallValue<C>>;
  /**
   * Puts another table under a device that is suspended and frozen.
   * @throws ControlError it has its table still
   */
  swap(plan: SwapPlan): Promise<void>;
  /** As a leg of another device. */
  below(): Below;
  /** While it is one, its own clients may only read. */
  lend(isLent: boolean): Promise<void>;
  /** Flushes, marks a mirror clean; no request of a client may be under way. 0, or an errno. */
  settle(): Promise<number>;
}

/** The next table of a device, and what its mirror starts from. */
export interface SwapPlan {
  readonly identity: DeviceIdentity;
  readonly legs: OpenLegs;
  readonly recorded: MirrorRecord | null;
  /** The bytes of its `disk` log; null: none, or it is begun anew. */
  readonly log: Uint8Array | null;
  readonly eventNr: number;
}

/** A device in this thread. */
export class LocalRunner implements Runner {
  private readonly parts: Assembled;
  private readonly swapHere: (plan: SwapPlan) => void;

  constructor(parts: Assembled, swapHere: (plan: SwapPlan) => void) {
    this.parts = parts;
    this.swapHere = swapHere;
  }

  async swap(plan: SwapPlan): Promise<void> {
    this.swapHere(plan);
  }

  call<C extends CallName>(name: C, args: CallArgs<C>): Promise<CallValue<C>> {
    return new Promise((done, refuse) => {
      callDevice(this.parts, name, args, { done, refuse });
    });
  }

  below(): Below {
    const { mapped } = this.parts;
    return { sectors: mapped.sectors, limits: mapped.limits, device: mapped, place: null };
  }

  async lend(isLent: boolean): Promise<void> {
    await this.call('lend', { isLent });
  }

  settle(): Promise<number> {
    return new Promise((settled) => {
      settle(this.parts.mapped, this.parts.mirror, settled);
    });
  }
}

/** `cells`: width of the region map; 0: none is wanted. */
export function snapshotOf(
  mapped: MappedDevice,
  mirror: MirrorSet | null,
  cells: number,
): DeviceSnapshot {
  const { entries } = mapped.table;
  const common = {
    sizeBytes: bytesOfSectors(mapped.sectors),
    targets: entries.map(({ target }) => target.type.name),
    tableLines: formatTable(mapped.table).trimEnd().split('\n'),
    statusLines: entries.map(({ startSector, endSector, target }) =>
      `${startSector} ${endSector - startSector} ${target.type.name} ${target.status()}`.trimEnd(),
    ),
  };
  const held = mapped.isHeld ? 'suspended' : null;
  if (mirror === null) {
    return {
      ...common,
      state: held ?? 'in-sync',
      eventNr: 0,
      regions: null,
      resync: null,
      scrub: null,
      regionMap: null,
      legs: [],
    };
  }
  const { state, eventNr, regions, resync, scrub, legs } = mirrorStatus(mirror);
  const regionMap = cells > 0 ? heatStrip(mirror, cells) : null;
  const described = legs.map((leg) => ({ ...leg, note: null }));
  const all = { ...common, eventNr, regions, resync, scrub, regionMap, legs: described };
  return { ...all, state: held ?? state };
}

export function settle(
  mapped: BlockDevice,
  mirror: MirrorSet | null,
  settled: (errno: number) => void,
): void {
  if (mirror !== null) {
    mirror.stop(settled);
    return;
  }
  const bio = new Bio();
  bio.op = REQ_OP.FLUSH;
  bio.owner = {
    endIo: () => {
      settled(bio.error);
    },
  };
  mapped.submit(bio);
}

/** The words for the log when a device was settled with an errno; undefined: all is durable. */
export function settleProblem(errno: number): string | undefined {
  return errno === ERRNO.OK ? undefined : `its last flush or record failed: ${errnoName(errno)}`;
}
