/** A device that is known but could not be assembled: it serves nobody, and says why. */
import { bytesOfSectors } from '../../core/base/units.ts';
import type {
  DeviceInfo,
  DeviceSource,
  DeviceStatus,
  LegStatus,
} from '../../core/control/status.ts';
import type { TableSpec } from '../../core/dm/parse.ts';
import type { LegRecord } from '../../core/mirror/record.ts';
import type { DeviceRecord } from '../device-record.ts';
import { pathsOf, readKnownTable } from './assemble.ts';

export class FailedDevice {
  readonly name: string;
  readonly source: DeviceSource;
  readonly reason: string;
  readonly eventNr = 0;
  /** There is a file of it in the state directory, readable or not. */
  readonly isOnRecord: boolean;
  private readonly record: DeviceRecord | null;
  private readonly spec: TableSpec | null;

  constructor(
    name: string,
    source: DeviceSource,
    reason: string,
    record: DeviceRecord | null,
    isOnRecord: boolean,
  ) {
    this.name = name;
    this.source = source;
    this.reason = reason;
    this.record = record;
    this.isOnRecord = isOnRecord;
    this.spec = record === null ? null : specOf(record);
  }

  status(): DeviceStatus {
    return {
      name: this.name,
      sizeBytes: this.sizeBytes(),
      target: this.targetNames(),
      state: 'failed',
      uri: null,
      connections: 0,
      attached: [],
      mounts: [],
      eventNr: this.eventNr,
      regions: null,
      resync: null,
      scrub: null,
      regionMap: null,
      legs: this.record?.mirror?.legs.map(legStatus) ?? [],
      reason: this.reason,
    };
  }

  info(): DeviceInfo {
    return {
      name: this.name,
      state: 'FAILED',
      readOnly: this.record?.readOnly ?? false,
      openCount: 0,
      eventNr: this.eventNr,
      targets: this.spec?.lines.length ?? 0,
      sizeBytes: this.sizeBytes(),
      uri: null,
      source: this.source,
    };
  }

  deps(): readonly string[] {
    return this.spec === null ? [] : [...new Set(pathsOf(this.spec))];
  }

  tableLines(): readonly string[] {
    return this.record?.table ?? [];
  }

  statusLines(): readonly string[] {
    return [];
  }

  private sizeBytes(): number | null {
    return this.spec === null ? null : bytesOfSectors(this.spec.sectors);
  }

  private targetNames(): string {
    const names = this.spec?.lines.map(({ spec }) => spec.type.name) ?? ['unknown'];
    return [...new Set(names)].join('+');
  }
}

/** Null for a record whose lines this version cannot read. */
function specOf(record: DeviceRecord): TableSpec | null {
  try {
    return readKnownTable(record.table.join('\n'));
  } catch {
    return null;
  }
}

/** As recorded; nobody has looked at the legs since. */
function legStatus(leg: LegRecord, index: number): LegStatus {
  const { path, state, errors, reason, writeMostly, failedByHand } = leg;
  const flags = { writeMostly, failedByHand, replaces: null };
  return { index, leg: path, state, errors, outOfSyncBytes: null, reason, ...flags };
}
