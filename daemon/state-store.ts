/**
 * The state directory: what must outlive the daemon.
 *
 *   STATE/lock               held exclusively (flock) by the one daemon that uses the directory
 *   STATE/devices/NAME.json  a device: its table, and who of a mirror's legs is in sync
 */
import { closeSync, openSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ERRNO } from '../core/base/errno.ts';
import { ControlError } from '../core/control/error.ts';
import type { MirrorRecord } from '../core/mirror/record.ts';
import { DeviceRecorder, parseDeviceRecord, TEMPORARY_SUFFIX } from './device-record.ts';
import type { DeviceIdentity, DeviceRecord } from './device-record.ts';
import { makeFolder } from './make-folder.ts';
import { hasSyscalls, loadSyscalls, LOCK } from './sys/syscalls.ts';
import { reasonOf } from './system-error.ts';

const SUFFIX = '.json';

/** A record as found: read, or why it cannot be. */
export interface FoundRecord {
  readonly name: string;
  readonly record: DeviceRecord | null;
  /** Null when the record is good. */
  readonly damage: string | null;
}

export class StateStore {
  private readonly folder: string;
  private readonly lockFd: number;

  private constructor(folder: string, lockFd: number) {
    this.folder = folder;
    this.lockFd = lockFd;
  }

  /**
   * Makes the directory if need be and takes it for this process.
   * @throws ControlError busy: another daemon has it; io
   */
  static open(path: string): StateStore {
    try {
      const folder = join(path, 'devices');
      makeFolder(folder, 0o700);
      return new StateStore(folder, lock(path));
    } catch (error) {
      if (error instanceof ControlError) throw error;
      throw new ControlError('io', `state directory ${path}: ${reasonOf(error)}`);
    }
  }

  /** Every device on record. Leftovers of a crash in mid-write are removed. */
  load(): readonly FoundRecord[] {
    const files = readdirSync(this.folder).sort();
    for (const file of files.filter((name) => name.endsWith(`${SUFFIX}${TEMPORARY_SUFFIX}`))) {
      unlinkSync(join(this.folder, file));
    }
    return files
      .filter((file) => file.endsWith(SUFFIX))
      .map((file) => this.read(file.slice(0, -SUFFIX.length)));
  }

  /** The writer of a device's record; one at a time for each device. */
  recorder(identity: DeviceIdentity, mirror: MirrorRecord | null): DeviceRecorder {
    return new DeviceRecorder(this.pathOf(identity.name), identity, mirror);
  }

  /** Forgets a device that no recorder writes: one that could not be assembled. */
  forget(name: string): void {
    unlinkSync(this.pathOf(name));
  }

  /** Lets another daemon have the directory. */
  close(): void {
    closeSync(this.lockFd);
  }

  private read(name: string): FoundRecord {
    const path = this.pathOf(name);
    try {
      const record = parseDeviceRecord(readFileSync(path, 'utf8'), name);
      if (typeof record !== 'string') return { name, record, damage: null };
      return { name, record: null, damage: `its record ${path} ${record}` };
    } catch (error) {
      return { name, record: null, damage: `its record ${path}: ${reasonOf(error)}` };
    }
  }

  private pathOf(name: string): string {
    return join(this.folder, `${name}${SUFFIX}`);
  }
}

function lock(path: string): number {
  const syscalls = loadSyscalls();
  if (!hasSyscalls(syscalls)) {
    throw new ControlError('io', `state directory ${path}: no flock, ${syscalls.reason}`);
  }
  const fd = openSync(join(path, 'lock'), 'w', 0o600);
  const errno = syscalls.flock(fd, LOCK.EX | LOCK.NB);
  if (errno === ERRNO.OK) return fd;
  closeSync(fd);
  throw new ControlError('address-in-use', `state directory ${path}: another daemon uses it`);
}
