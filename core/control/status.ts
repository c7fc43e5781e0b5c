/** What `status` and its sisters answer. Key names are CONTRACT section 4's; unknown is null. */

/** `degraded`: serving with fewer good legs. */
export type DeviceState = 'in-sync' | 'degraded' | 'resyncing' | 'suspended' | 'failed';

export const LEG_STATES = ['in-sync', 'resyncing', 'failed', 'missing', 'stale'] as const;
export type LegState = (typeof LEG_STATES)[number];

/** Failed requests of a leg, by kind. */
export interface LegErrors {
  readonly read: number;
  readonly write: number;
  readonly flush: number;
  readonly resync: number;
  /** Requests it was given up on for; left out: none. */
  readonly timeout?: number;
}

export const NO_LEG_ERRORS: LegErrors = { read: 0, write: 0, flush: 0, resync: 0 };

export interface LegStatus {
  readonly index: number;
  /** As the user named it. */
  readonly leg: string;
  readonly state: LegState;
  readonly errors: LegErrors;
  readonly outOfSyncBytes: number | null;
  /** Read only where no other leg is good. */
  readonly writeMostly: boolean;
  /** Taken out by an operator: it does not come back by itself. */
  readonly failedByHand: boolean;
  /** The leg that leaves when this one is in sync. */
  readonly replaces: string | null;
  /** When it is tried again by itself, or why it is not; null when there is nothing to say. */
  readonly note: string | null;
  /** Why it is not in sync, in words; null when there is nothing to say. */
  readonly reason: string | null;
}

interface RegionsStatus {
  readonly sizeBytes: number;
  readonly total: number;
  readonly dirty: number;
  readonly outOfSync: number;
}

export interface ResyncStatus {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number | null;
  readonly etaSeconds: number | null;
  /** By `resync --pause`: only what clients need at once is copied. */
  readonly paused: boolean;
}

/** The scrub that runs, or the last one since the device was started. Counts are of sectors. */
export interface ScrubStatus {
  readonly state: 'running' | 'stopped' | 'done' | 'failed';
  readonly reason: string | null;
  readonly repair: 'none' | 'majority' | 'from-leg';
  readonly fromLeg: number | null;
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number | null;
  readonly etaSeconds: number | null;
  readonly mismatchedSectors: number;
  readonly repairedSectors: number;
  readonly unreadableSectors: number;
  /** Ranges found; `mismatches` lists the first thousand. */
  readonly mismatchedRanges: number;
  readonly mismatches: readonly ScrubMismatch[];
  readonly unreadable: readonly {
    readonly sector: number;
    readonly sectors: number;
    readonly leg: number;
  }[];
}

export interface ScrubMismatch {
  readonly sector: number;
  readonly sectors: number;
  /** Leg numbers; those of one list hold the same. The largest list first. */
  readonly groups: readonly (readonly number[])[];
  readonly repaired: boolean;
}

export interface DeviceStatus {
  readonly name: string;
  readonly sizeBytes: number | null;
  /** The target's name; several are joined by `+`. */
  readonly target: string;
  readonly state: DeviceState;
  readonly uri: string | null;
  readonly connections: number;
  /** /dev/nbdN that this device is attached to on this machine. */
  readonly attached: readonly string[];
  /** Where those are mounted, as the daemon sees mounts. */
  readonly mounts: readonly MountPoint[];
  readonly eventNr: number;
  /** Null for targets without regions. */
  readonly regions: RegionsStatus | null;
  /** Null when none runs. */
  readonly resync: ResyncStatus | null;
  /** Null when none has run. */
  readonly scrub: ScrubStatus | null;
  /** One letter for so many regions, if it was asked for: x ? d . (core/mirror/heat.ts). */
  readonly regionMap: string | null;
  readonly legs: readonly LegStatus[];
  /** Why it is `failed` or `degraded`, in words; null when there is nothing to say. */
  readonly reason: string | null;
}

interface MountPoint {
  /** /dev/nbdN */
  readonly device: string;
  readonly path: string;
}

export interface StatusReport {
  readonly devices: readonly DeviceStatus[];
}

/** `table` and `status --dm`: the kernel's lines, one a target. */
export interface LinesReport {
  readonly devices: readonly { readonly name: string; readonly lines: readonly string[] }[];
}

/** `info`, after dmsetup. */
export interface DeviceInfo {
  readonly name: string;
  /** `FAILED`: known, but not assembled. */
  readonly state: 'ACTIVE' | 'SUSPENDED' | 'FAILED';
  /** `inactive`: one was reloaded and waits for `resume`. */
  readonly tables: readonly ('live' | 'inactive')[];
  readonly readOnly: boolean;
  readonly openCount: number;
  readonly eventNr: number;
  readonly targets: number;
  readonly sizeBytes: number | null;
  readonly uri: string | null;
  /** `create`: made by dmio, in the state directory; `config`: in the config file; `serve`: private. */
  readonly source: DeviceSource;
}

export const DEVICE_SOURCES = ['create', 'config', 'serve'] as const;
export type DeviceSource = (typeof DEVICE_SOURCES)[number];

export interface InfoReport {
  readonly devices: readonly DeviceInfo[];
}

export interface ListReport {
  readonly devices: readonly {
    readonly name: string;
    readonly sizeBytes: number | null;
    readonly target: string;
    readonly state: DeviceState;
    readonly uri: string | null;
  }[];
}

export interface TargetsReport {
  readonly targets: readonly {
    readonly name: string;
    readonly version: readonly [number, number, number];
  }[];
}

export interface DepsReport {
  readonly name: string;
  /** In the order of the table. */
  readonly deps: readonly string[];
}

export interface VersionReport {
  readonly version: string;
  readonly protocol: number;
  readonly pid: number;
  readonly node: string;
  /** What serves files: `node` (Node's fs). */
  readonly engine: string;
}

export interface CreateReport {
  readonly name: string;
  readonly sizeBytes: number;
  readonly uri: string | null;
  /** Leg files that did not exist before. */
  readonly createdLegs: readonly string[];
}

export interface AssembleReport {
  readonly name: string;
  readonly sizeBytes: number;
  readonly uri: string | null;
  readonly state: DeviceState;
  readonly legs: readonly LegStatus[];
  /** Legs that were named and are none of the set. */
  readonly leftOut: readonly string[];
}

export interface RemoveReport {
  readonly name: string;
  /** True when the config file names it too: it comes back at the next start. */
  readonly inConfig: boolean;
}

export interface WaitReport {
  readonly name: string;
  readonly state: DeviceState;
  readonly eventNr: number;
}

/** `suspend`, `resume`, `reload`, `clear`. */
export interface TableChangeReport {
  readonly name: string;
  readonly state: 'ACTIVE' | 'SUSPENDED';
  readonly tables: readonly ('live' | 'inactive')[];
  /** The config file names the device too; what it says of the table may be another. */
  readonly inConfig: boolean;
}

export interface ResizeReport {
  readonly name: string;
  readonly sizeBytes: number;
  readonly beforeBytes: number;
  /** The nbd devices of this machine that have it. */
  readonly attached: readonly string[];
  /** What is not as it should be, a line each. */
  readonly warnings: readonly string[];
  readonly inConfig: boolean;
}

export interface MessageReport {
  readonly name: string;
  /** What the target answers; empty: nothing. */
  readonly answer: string;
}

/** What has become of a leg. */
export interface LegReport {
  readonly name: string;
  readonly leg: string;
  readonly index: number;
  readonly state: LegState;
  /** What it had to be given when the change was made. */
  readonly outOfSyncBytes: number;
}

export interface LegAddReport extends LegReport {
  /** The leg file did not exist before. */
  readonly isCreated: boolean;
  /** The leg that leaves when this one is in sync. */
  readonly replaces: string | null;
  /** True when the config file names the device: its legs there have to be changed, too. */
  readonly inConfig: boolean;
}

export interface LegRemoveReport {
  readonly name: string;
  readonly leg: string;
  /** False: requests are under way there; its file is let go when they have ended. */
  readonly isReleased: boolean;
  readonly inConfig: boolean;
}

export interface AttachReport {
  /** /dev/nbdN */
  readonly device: string;
  readonly name: string;
  /** What is not as it should be, although it is attached; null: all is well. */
  readonly warning: string | null;
}

export interface DetachReport {
  readonly detached: readonly string[];
}

export interface AttachedReport {
  readonly attached: readonly {
    readonly device: string;
    readonly name: string;
    readonly sizeBytes: number;
    /** Of those wanted, how many there are now. */
    readonly connections: number;
    readonly mounts: readonly string[];
    /** Somebody ran nbd-client: it does not survive a restart of the daemon, and `detach` leaves it. */
    readonly byHand: boolean;
  }[];
}

export interface ScrubReport {
  readonly name: string;
  /** Null: the device has never been scrubbed since it was started. */
  readonly scrub: ScrubStatus | null;
}

export interface ResyncReport {
  readonly name: string;
  readonly state: DeviceState;
  readonly resync: ResyncStatus | null;
  /** Bytes a second; null: no limit. */
  readonly minBytesPerSecond: number;
  readonly maxBytesPerSecond: number | null;
}

/** Latencies in microseconds; null where nothing was counted. */
export interface OpCounts {
  readonly requests: number;
  readonly errors: number;
  readonly bytes: number;
  readonly totalUs: number;
  readonly meanUs: number | null;
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  readonly p999Us: number | null;
  readonly maxUs: number | null;
}

export type IoCounts = Readonly<
  Record<'read' | 'write' | 'flush' | 'discard' | 'zeroes', OpCounts>
>;

/** Since the device was started. */
export interface DeviceCounts {
  readonly name: string;
  /** What clients asked. */
  readonly io: IoCounts;
  /** What each leg was asked, also by resync and scrub. */
  readonly legs: readonly { readonly index: number; readonly leg: string; readonly io: IoCounts }[];
}

export interface StatsReport {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  readonly devices: readonly DeviceCounts[];
}

export interface EventStatus {
  /** The daemon's own count, over all devices; it begins anew with the daemon. */
  readonly seq: number;
  /** ISO 8601. */
  readonly time: string;
  readonly device: string;
  /** The device's. */
  readonly eventNr: number;
  readonly kind: string;
  readonly leg: string | null;
  readonly message: string;
}

export interface EventsReport {
  readonly events: readonly EventStatus[];
  /** The last event there is. */
  readonly lastSeq: number;
  /** Events that were asked for, but are too long ago. */
  readonly lost: number;
}
