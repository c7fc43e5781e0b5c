/** A device that serves: what clients see of it, what moves its data, what it stands on. */
import type {
  DeviceInfo,
  DeviceSource,
  DeviceStatus,
  LegStatus,
} from '../../core/control/status.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import type { Offer } from '../../core/export/offer.ts';
import type { DeviceRecorder } from '../device-record.ts';
import { pathsOf, readKnownTable } from './assemble.ts';
import type { LegChanges } from './leg-changes.ts';
import type { LegReturn } from './leg-return.ts';
import type { OpenLegs } from './legs.ts';
import { settleProblem, type Runner } from './runner.ts';

export interface DeviceParts {
  readonly name: string;
  readonly source: DeviceSource;
  readonly exported: Offer;
  readonly runner: Runner;
  readonly legs: OpenLegs;
  readonly changes: LegChanges;
  readonly legReturn: LegReturn;
  /** Null: a private daemon remembers nothing. */
  readonly recorder: DeviceRecorder | null;
}

export class Device {
  readonly name: string;
  readonly source: DeviceSource;
  readonly exported: Offer;
  readonly changes: LegChanges;
  readonly runner: Runner;
  readonly recorder: DeviceRecorder | null;
  private readonly legs: OpenLegs;
  private readonly legReturn: LegReturn;

  constructor(parts: DeviceParts) {
    this.name = parts.name;
    this.source = parts.source;
    this.exported = parts.exported;
    this.runner = parts.runner;
    this.legs = parts.legs;
    this.changes = parts.changes;
    this.legReturn = parts.legReturn;
    this.recorder = parts.recorder;
  }

  get connections(): number {
    return this.exported.connections;
  }

  async status(uri: string | null, cells: number): Promise<DeviceStatus> {
    const { sizeBytes, targets, state, eventNr, regions, resync, scrub, regionMap, legs } =
      await this.runner.call('snapshot', { cells });
    return {
      name: this.name,
      sizeBytes,
      target: [...new Set(targets)].join('+'),
      state,
      uri,
      connections: this.connections,
      attached: [],
      mounts: [],
      eventNr,
      regions,
      resync,
      scrub,
      regionMap,
      legs: legs.map((leg) => this.withNote(leg)),
      reason: null,
    };
  }

  async info(uri: string | null): Promise<DeviceInfo> {
    const { sizeBytes, targets, eventNr } = await this.runner.call('snapshot', null);
    return {
      name: this.name,
      state: 'ACTIVE',
      readOnly: this.exported.readOnly,
      openCount: this.connections,
      eventNr,
      targets: targets.length,
      sizeBytes,
      uri,
      source: this.source,
    };
  }

  async tableLines(): Promise<readonly string[]> {
    return (await this.runner.call('snapshot', null)).tableLines;
  }

  /** The kernel's: `START LEN TARGET STATUS...`. */
  async statusLines(): Promise<readonly string[]> {
    return (await this.runner.call('snapshot', null)).statusLines;
  }

  /** Every device of the table, in its order. */
  async deps(): Promise<readonly string[]> {
    const lines = await this.tableLines();
    return [...new Set(pathsOf(readKnownTable(lines.join('\n'))))];
  }

  heard(event: MirrorEvent): void {
    this.changes.heard(event);
    this.legReturn.wake();
  }

  private withNote(leg: LegStatus): LegStatus {
    const note = this.legReturn.noteOf(leg);
    return note === null ? leg : { ...leg, reason: `${leg.reason ?? leg.state}; ${note}` };
  }

  /** No leg comes or goes any more; whatever is under way ends first. */
  private async settle(): Promise<number> {
    this.legReturn.stop();
    await this.changes.stop();
    return this.runner.settle();
  }

  /**
   * Flushes, marks a mirror clean, lets go of the legs. No request of a client may be under way.
   * The words are what went wrong, for the log; undefined: all is durable.
   */
  async stop(): Promise<string | undefined> {
    const errno = await this.settle();
    await this.legs.close();
    return settleProblem(errno);
  }

  /** Stop, and take back what making the device has made: its record, its new leg files. */
  async abandon(): Promise<void> {
    await this.settle();
    await this.legs.undo();
    await this.recorder?.remove();
  }
}
