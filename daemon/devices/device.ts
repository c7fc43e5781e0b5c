/** A device that serves: what clients see of it, what moves its data, what it stands on. */
import type { DeviceInfo, DeviceSource, DeviceStatus } from '../../core/control/status.ts';
import type { Offer } from '../../core/export/offer.ts';
import type { DeviceRecorder } from '../device-record.ts';
import type { OpenLegs } from './legs.ts';
import { settleProblem, type Runner } from './runner.ts';

export interface DeviceParts {
  readonly name: string;
  readonly source: DeviceSource;
  readonly exported: Offer;
  readonly runner: Runner;
  readonly legs: OpenLegs;
  /** Every device of the table, in its order. */
  readonly deps: readonly string[];
  /** Null: a private daemon remembers nothing. */
  readonly recorder: DeviceRecorder | null;
}

export class Device {
  readonly name: string;
  readonly source: DeviceSource;
  readonly exported: Offer;
  readonly deps: readonly string[];
  readonly runner: Runner;
  readonly recorder: DeviceRecorder | null;
  private readonly legs: OpenLegs;

  constructor(parts: DeviceParts) {
    this.name = parts.name;
    this.source = parts.source;
    this.exported = parts.exported;
    this.runner = parts.runner;
    this.legs = parts.legs;
    this.deps = parts.deps;
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
      legs,
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

  /**
   * Flushes, marks a mirror clean, lets go of the legs. No request of a client may be under way.
   * The words are what went wrong, for the log; undefined: all is durable.
   */
  async stop(): Promise<string | undefined> {
    const errno = await this.runner.settle();
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
