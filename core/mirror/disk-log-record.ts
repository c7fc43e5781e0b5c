/**
 * Who is in sync, in a part of the log's second sector that the kernel keeps as it finds it. Only a
 * daemon without a state directory writes it (`serve --log disk=PATH`); little-endian:
 *
 *   512   "dmiodwho"
 *   520   version 1, u32
 *   524   CRC-32C of bytes 512..1023, counted with zeros here
 *   528   generation, u64
 *   536   1: stopped with equal members
 *   537   number of legs, u8
 *   540   a leg each: slot u8; state u8, with 0x10 write-mostly and 0x20 failed by hand;
 *         CRC-32C of its path (UTF-16LE), u32
 */
import { crc32c } from '../base/crc32c.ts';
import type { DiskLog } from './disk-log.ts';
import type { LegState } from './leg.ts';
import type { LegRecord, MirrorRecord, MirrorRecorder } from './record.ts';

const AREA = 512;
const AREA_END = 1024;
const MAGIC = 'dmiodwho';
const VERSION = 1;
const AT = { version: 520, sum: 524, generation: 528, clean: 536, count: 537, legs: 540 } as const;
const LEG_BYTES = 6;
const STATES: readonly LegState[] = ['in-sync', 'resyncing', 'failed', 'missing', 'stale'];
const STATE_MASK = 0x0f;
const WRITE_MOSTLY = 0x10;
const FAILED_BY_HAND = 0x20;

export class DiskLogRecorder implements MirrorRecorder {
  private readonly log: DiskLog;

  constructor(log: DiskLog) {
    this.log = log;
  }

  record(state: MirrorRecord, done: (errno: number) => void): void {
    this.log.write([0], () => writeLogRecord(this.log.image, state), done);
  }
}

/** Brings the record into the image of a log. */
function writeLogRecord(image: Uint8Array, record: MirrorRecord): void {
  image.fill(0, AREA, AREA_END);
  for (let i = 0; i < MAGIC.length; i += 1) image[AREA + i] = MAGIC.charCodeAt(i);
  const view = viewOf(image);
  view.setUint32(AT.version, VERSION, true);
  view.setBigUint64(AT.generation, BigInt(record.generation), true);
  view.setUint8(AT.clean, record.clean ? 1 : 0);
  view.setUint8(AT.count, record.legs.length);
  for (const [i, leg] of record.legs.entries()) {
    const at = AT.legs + i * LEG_BYTES;
    const flags = (leg.writeMostly ? WRITE_MOSTLY : 0) | (leg.failedByHand ? FAILED_BY_HAND : 0);
    view.setUint8(at, leg.slot);
    view.setUint8(at + 1, STATES.indexOf(leg.state) | flags);
    view.setUint32(at + 2, sumOfPath(leg.path), true);
  }
  view.setUint32(AT.sum, crc32c(image, AREA, AREA_END), true);
}

/** The record is kept elsewhere: what an earlier daemon has left here must not outlive that. */
export function eraseLogRecord(image: Uint8Array): void {
  if (hasRecord(image)) image.fill(0, AREA, AREA_END);
}

/**
 * The record of a set of these legs, in their order; null: none, a damaged one, or that of legs of
 * which none is here. A leg it does not name lacks everything.
 */
export function readLogRecord(
  image: Uint8Array,
  legs: readonly { readonly path: string; readonly startSector: number }[],
): MirrorRecord | null {
  if (!hasRecord(image)) return null;
  const view = viewOf(image);
  if (view.getUint32(AT.version, true) !== VERSION) return null;
  const area = image.slice(AREA, AREA_END);
  area.fill(0, AT.sum - AREA, AT.sum - AREA + 4);
  if (crc32c(area) !== view.getUint32(AT.sum, true)) return null;
  const count = view.getUint8(AT.count);
  const places = new Map<number, number>();
  for (let i = 0; i < count; i += 1) {
    const at = AT.legs + i * LEG_BYTES;
    places.set(view.getUint32(at + 2, true), at);
  }
  const found = legs.map(({ path }) => places.get(sumOfPath(path)) ?? null);
  if (found.every((at) => at === null)) return null;
  const slots = new Set(found.flatMap((at) => (at === null ? [] : [view.getUint8(at)])));
  return {
    generation: Number(view.getBigUint64(AT.generation, true)),
    clean: view.getUint8(AT.clean) === 1,
    legs: legs.map(({ path, startSector }, i): LegRecord => {
      const at = found[i] ?? null;
      const bits = at === null ? STATES.indexOf('resyncing') : view.getUint8(at + 1);
      return {
        path,
        startSector,
        slot: at === null ? takeFree(slots) : view.getUint8(at),
        state: STATES[bits & STATE_MASK] ?? 'stale',
        writeMostly: (bits & WRITE_MOSTLY) !== 0,
        failedByHand: (bits & FAILED_BY_HAND) !== 0,
        replaces: null,
        reason: null,
        errors: { read: 0, write: 0, flush: 0, resync: 0 },
      };
    }),
  };
}

function takeFree(slots: Set<number>): number {
  let slot = 0;
  while (slots.has(slot)) slot += 1;
  slots.add(slot);
  return slot;
}

function hasRecord(image: Uint8Array): boolean {
  if (image.length < AREA_END) return false;
  for (let i = 0; i < MAGIC.length; i += 1) {
    if (image[AREA + i] !== MAGIC.charCodeAt(i)) return false;
  }
  return true;
}

/** Of its UTF-16 code units, low byte first. */
function sumOfPath(path: string): number {
  const bytes = new Uint8Array(path.length * 2);
  for (let i = 0; i < path.length; i += 1) {
    const unit = path.charCodeAt(i);
    bytes[2 * i] = unit & 0xff;
    bytes[2 * i + 1] = unit >>> 8;
  }
  return crc32c(bytes);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
