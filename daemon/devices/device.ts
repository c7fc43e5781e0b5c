/** A device that serves: what clients see of it, what moves its data, what it stands on. */
import type { DeviceInfo, DeviceSource, DeviceStatus } from '../../core/control/status.ts';
import type { Offer } from '../../core/export/offer.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { DeviceIdentity, DeviceRecorder } from '../device-record.ts';
import { pathsOf, readTable } from './assemble.ts';
import type { InactiveTable } from './live-table.ts';
import type { OpenLegs } from './legs.ts';
import { settleProblem, type Runner } from './runner.ts';

export interface DeviceParts {
  readonly identity: DeviceIdentity;
  readonly exported: Offer;
  readonly runner: Runner;
  readonly legs: OpenLegs;
  /** Null: a private daemon remembers nothing. */
  readonly recorder: DeviceRecorder | null;
}

export class Device {
  readonly name: string;
  readonly source: DeviceSource;
  readonly exported: Offer;
  readonly runner: Runner;
  readonly recorder: DeviceRecorder | null;
  readonly legs: OpenLegs;
  /** Of the live table. */
  identity: DeviceIdentity;
  /** Checked and waiting for `resume`. */
  inactive: InactiveTable | null = null;
  isSuspended = false;
  /** The device that stands on this one. */
  holder: string | null = null;
  /** Suspended, and its record may name another table than the live one: who is in sync in this one. */
  inDoubt: { readonly record: MirrorRecord | null } | null = null;

  constructor(parts: DeviceParts) {
    this.name = parts.identity.name;
    this.source = parts.identity.source;
    this.identity = parts.identity;
    this.exported = parts.exported;
    this.runner = parts.runner;
    this.legs = parts.legs;
    this.recorder = parts.recorder;
  }

  /** Every device of the live table, in its order. */
  get deps(): readonly string[] {
    return [...new Set(pathsOf(readTable(this.identity.table.join('\n'))))];
  }

  get connections(): number {
    return this.exported.connections;
  }

  async status(uri: string | null): Promise<DeviceStatus> {
    const { sizeBytes, targets, state, eventNr, regions, resync, legs } = await this.runner.call(
      'snapshot',
      null,
    );
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
      legs,
      reason: null,
    };
  }

  async info(uri: string | null): Promise<DeviceInfo> {
    const { sizeBytes, targets, eventNr } = await this.runner.call('snapshot', null);
    return {
      name: this.name,
      state: this.isSuspended ? 'SUSPENDED' : 'ACTIVE',
      tables: this.inactive === null ? ['live'] : ['live', 'inactive'],
      readOnly: this.exported.readOnly,
      openCount: this.connections + (this.holder === null ? 0 : 1),
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

  /**
   * Flushes, marks a mirror clean, lets go of the legs. No request of a client may be under way.
   * The words are what went wrong, for the log; undefined: all is durable.
   */
  async stop(): Promise<string | undefined> {
    const errno = await this.runner.settle();
    await this.inactive?.added.close();
    await this.legs.close();
    return settleProblem(errno);
  }

  /** Stop, and take back what making the device has made: its record, its new leg files. */
  async abandon(): Promise<void> {
    await this.runner.settle();
    await this.legs.undo();
    await this.recorder?.remove();
  }
}
