/** One device's durable record: what is in devices/NAME.json, and how it is replaced. */
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { ERRNO } from '../core/base/errno.ts';
import { CACHE_MODES, type CacheMode } from '../core/control/cache.ts';
import { problemOf } from '../core/control/messages.ts';
import { DEVICE_SOURCES, LEG_STATES } from '../core/control/status.ts';
import type { DeviceSource } from '../core/control/status.ts';
import { withMirrorLegs } from '../core/dm/target-mirror.ts';
import type { MirrorRecord, MirrorRecorder } from '../core/mirror/record.ts';
import { errnoOf } from './system-error.ts';

const count = z.int().nonnegative();

/** Records of older versions lack the second half; then a leg's slot is its place. */
const legRecord = z.strictObject({
  path: z.string(),
  state: z.enum(LEG_STATES),
  reason: z.string().nullable(),
  errors: z.strictObject({ read: count, write: count, flush: count, resync: count }),
  slot: count.max(63).optional(),
  startSector: count.default(0),
  writeMostly: z.boolean().default(false),
  failedByHand: z.boolean().default(false),
  replaces: count.max(63).nullable().default(null),
});

const mirrorRecord = z.strictObject({
  generation: count,
  clean: z.boolean(),
  legs: z
    .array(legRecord)
    .min(1)
    .transform((legs) => legs.map((leg, place) => ({ ...leg, slot: leg.slot ?? place }))),
});

const deviceRecord = z.strictObject({
  format: z.literal(1),
  name: z.string(),
  source: z.enum(DEVICE_SOURCES),
  table: z.array(z.string()).min(1),
  readOnly: z.boolean(),
  readPolicy: z.string(),
  cache: z.record(z.string(), z.enum(CACHE_MODES)).default({}),
  legTimeout: z.array(z.string()).optional(),
  mirror: mirrorRecord.nullable(),
  setUuid: z.string().nullable().default(null),
});

/** What changes only with another table, by `DeviceRecorder.replace`, and with the legs of a mirror. */
export interface DeviceIdentity {
  readonly name: string;
  readonly source: DeviceSource;
  /** The kernel's lines, one a target. The legs of a mirror are as they were at the start. */
  readonly table: readonly string[];
  readonly readOnly: boolean;
  readonly readPolicy: string;
  /** By the path of the leg; the others have their kind's default. */
  readonly cache: Readonly<Record<string, CacheMode>>;
  /** After how long a leg is given up on: see core/control/leg-timeout.ts. */
  readonly legTimeout?: readonly string[] | undefined;
  /** Of a mirror with the native log: the legs of this set, wherever they are found. */
  readonly setUuid: string | null;
}

export interface DeviceRecord extends DeviceIdentity {
  readonly format: 1;
  /**
   * Who is in sync, as of which generation; null for a table without a mirror. With the native log
   * the legs say so themselves, and this is a guard against legs that are older.
   */
  readonly mirror: MirrorRecord | null;
}

/** Reads a record's text: the record, or in words what is wrong with it. */
export function parseDeviceRecord(text: string, name: string): DeviceRecord | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'is no JSON';
  }
  const parsed = deviceRecord.safeParse(value);
  if (!parsed.success) return `is no device record: ${problemOf(parsed.error)}`;
  if (parsed.data.name !== name) return `is the record of another device, "${parsed.data.name}"`;
  return parsed.data;
}

/** One file holds both, so the table names the legs of the record at every instant. */
function tableWithLegs(table: readonly string[], { legs }: MirrorRecord): readonly string[] {
  return table.map((line) => withMirrorLegs(line, legs));
}

export const TEMPORARY_SUFFIX = '.tmp';

/**
 * Replaces a file so that a crash at any step leaves the old content or the new, whole:
 *
 *   write NAME.json.tmp -> fsync it -> rename over NAME.json -> fsync the folder
 */
async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}${TEMPORARY_SUFFIX}`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * The only writer of a device's record. Writes are one at a time; states that arrive while one is
 * under way are joined, and the newest is written for all of them.
 */
export class DeviceRecorder implements MirrorRecorder {
  private readonly path: string;
  private identity: DeviceIdentity;
  private latest: MirrorRecord | null;
  private waiting: ((errno: number) => void)[] = [];
  private writing = false;
  private removed = false;

  constructor(path: string, identity: DeviceIdentity, latest: MirrorRecord | null) {
    this.path = path;
    this.identity = identity;
    this.latest = latest;
  }

  /**
   * `done` is called once, never from inside, with 0 when this state or a newer one is durable, or
   * with the errno that kept it from being so.
   */
  record(state: MirrorRecord, done: (errno: number) => void): void {
    this.latest = state;
    this.save(done);
  }

  /** Makes the record durable as it is: the first of a device, before its creation is told. */
  save(done: (errno: number) => void): void {
    this.waiting.push(done);
    if (!this.writing) void this.writeAll();
  }

  /**
   * Another table and who is in sync in it, both or neither: they are one file. 0 when that is
   * durable, else the errno that kept it from being so. Nobody else may record meanwhile.
   */
  async replace(identity: DeviceIdentity, mirror: MirrorRecord | null): Promise<number> {
    this.identity = identity;
    this.latest = mirror;
    return new Promise((told) => {
      this.save(told);
    });
  }

  /** The record as it was last given here. */
  get current(): DeviceRecord {
    const { identity, latest } = this;
    const table = latest === null ? identity.table : tableWithLegs(identity.table, latest);
    return { format: 1, ...identity, table, mirror: latest };
  }

  /** After what is under way, the record is gone for good. */
  async remove(): Promise<void> {
    this.removed = true;
    await new Promise<void>((settled) => {
      this.save(() => {
        settled();
      });
    });
    await unlink(this.path);
    await syncFolder(dirname(this.path));
  }

  private async writeAll(): Promise<void> {
    this.writing = true;
    while (this.waiting.length > 0) {
      const told = this.waiting;
      this.waiting = [];
      const errno = await this.write();
      for (const done of told) done(errno);
    }
    this.writing = false;
  }

  private async write(): Promise<number> {
    // The first await keeps `done` out of `record`, whatever comes next.
    await Promise.resolve();
    if (this.removed) return ERRNO.OK;
    try {
      await replaceFile(this.path, `${JSON.stringify(this.current, null, 2)}\n`);
      return ERRNO.OK;
    } catch (error) {
      return errnoOf(error);
    }
  }
}
