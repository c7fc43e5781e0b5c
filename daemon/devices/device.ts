/** A device that serves: a table, what it stands on, and how it is doing. */
import { ERRNO, errnoName } from '../../core/base/errno.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { REQ_OP } from '../../core/block/op.ts';
import type { DeviceInfo, DeviceSource, DeviceStatus } from '../../core/control/status.ts';
import type { MappedDevice } from '../../core/dm/mapped-device.ts';
import { formatTable } from '../../core/dm/parse.ts';
import type { Export } from '../../core/export/export.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { mirrorStatus } from '../../core/mirror/status.ts';
import type { DeviceRecorder } from '../device-record.ts';
import type { OpenLegs } from './legs.ts';

export interface DeviceParts {
  readonly source: DeviceSource;
  readonly mapped: MappedDevice;
  readonly exported: Export;
  readonly legs: OpenLegs;
  /** Every device of the table, in its order. */
  readonly deps: readonly string[];
  /** Null: the table has none. */
  readonly mirror: MirrorSet | null;
  /** Null: a private daemon remembers nothing. */
  readonly recorder: DeviceRecorder | null;
}

export class Device {
  readonly name: string;
  readonly source: DeviceSource;
  readonly exported: Export;
  readonly deps: readonly string[];
  readonly mirror: MirrorSet | null;
  readonly recorder: DeviceRecorder | null;
  private readonly mapped: MappedDevice;
  private readonly legs: OpenLegs;

  constructor(parts: DeviceParts) {
    this.name = parts.mapped.name;
    this.source = parts.source;
    this.mapped = parts.mapped;
    this.exported = parts.exported;
    this.legs = parts.legs;
    this.deps = parts.deps;
    this.mirror = parts.mirror;
    this.recorder = parts.recorder;
  }

  get eventNr(): number {
    return this.mirror?.eventNr ?? 0;
  }

  get connections(): number {
    return this.exported.connections;
  }

  status(uri: string | null): DeviceStatus {
    const common = {
      name: this.name,
      sizeBytes: bytesOfSectors(this.mapped.sectors),
      target: this.targetNames(),
      uri,
      connections: this.connections,
      attached: [],
      reason: null,
    };
    if (this.mirror === null) {
      return { ...common, state: 'in-sync', eventNr: 0, regions: null, resync: null, legs: [] };
    }
    const { state, eventNr, regions, resync, legs } = mirrorStatus(this.mirror);
    return { ...common, state, eventNr, regions, resync, legs };
  }

  info(uri: string | null): DeviceInfo {
    return {
      name: this.name,
      state: 'ACTIVE',
      readOnly: this.exported.readOnly,
      openCount: this.connections,
      eventNr: this.eventNr,
      targets: this.mapped.table.entries.length,
      sizeBytes: bytesOfSectors(this.mapped.sectors),
      uri,
      source: this.source,
    };
  }

  tableLines(): readonly string[] {
    return formatTable(this.mapped.table).trimEnd().split('\n');
  }

  /** The kernel's: `START LEN TARGET STATUS...`. */
  statusLines(): readonly string[] {
    return this.mapped.table.entries.map(({ startSector, endSector, target }) =>
      `${startSector} ${endSector - startSector} ${target.type.name} ${target.status()}`.trimEnd(),
    );
  }

  /**
   * Flushes, marks a mirror clean, lets go of the legs. No request of a client may be under way.
   * The words are what went wrong, for the log; undefined: all is durable.
   */
  async stop(): Promise<string | undefined> {
    const errno = await this.settle();
    await this.legs.close();
    return errno === ERRNO.OK ? undefined : `its last flush or record failed: ${errnoName(errno)}`;
  }

  /** Stop, and take back what making the device has made: its record, its new leg files. */
  async abandon(): Promise<void> {
    await this.settle();
    await this.legs.undo();
    await this.recorder?.remove();
  }

  private settle(): Promise<number> {
    const { mirror } = this;
    if (mirror === null) return flush(this.mapped);
    return new Promise((stopped) => {
      mirror.stop(stopped);
    });
  }

  private targetNames(): string {
    const names = this.mapped.table.entries.map(({ target }) => target.type.name);
    return [...new Set(names)].join('+');
  }
}

function flush(device: BlockDevice): Promise<number> {
  return new Promise((flushed) => {
    const bio = new Bio();
    bio.op = REQ_OP.FLUSH;
    bio.owner = { endIo: () => flushed(bio.error) };
    device.submit(bio);
  });
}
