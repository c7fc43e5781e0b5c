import { crc32c } from '../base/crc32c.ts';
import { assert } from '../base/assert.ts';
import { isPowerOfTwo } from '../base/units.ts';
import type { LegState } from './leg.ts';
import { getHex, getText, getU64, getUuid, putHex, putText, putU64 } from './native-bytes.ts';
import {
  mapShape,
  mapSectorOf,
  MAX_REGIONS_OF_MAP,
  MAX_SLOTS,
  SUPERBLOCK_BYTES,
} from './native-layout.ts';
import type { LegErrors } from './record.ts';
import type { ScrubPlace } from './scrub-report.ts';

/** A point in the life of a set: the n-th superblock written, in the run that wrote it. */
export interface RunMark {
  /** 16 hex digits, drawn at each start of the set. */
  readonly run: string;
  readonly sequence: number;
}

/** A leg as the writer of a superblock saw it. */
export interface LegEntry {
  readonly uuid: string;
  readonly slot: number;
  readonly state: LegState;
  readonly writeMostly: boolean;
  /** Taken out by an operator: nobody else takes it in again. */
  readonly failedByHand: boolean;
  /** Slot of the leg that leaves when this one is in sync. */
  readonly replaces: number | null;
  readonly errors: LegErrors;
  /** The generation with which its state became this one. */
  readonly changedGeneration: number;
  /** While it is out of the set: the set's cleared generation when it left. */
  readonly clearedWhenLeft: number;
  /** The last superblock it was given, as far as the writer knows. */
  readonly last: RunMark;
  /** A hint for people: the leg's name when this was written, 48 bytes of it. */
  readonly name: string;
}

/** What a leg says of itself and of the others. format.md has it byte by byte. */
export interface Superblock {
  readonly setUuid: string;
  readonly setName: string;
  readonly legUuid: string;
  readonly slot: number;
  /** Grows with every superblock written. */
  readonly sequence: number;
  /** Grows with every change of who is in sync, and before bits of the map are cleared. */
  readonly generation: number;
  /** No bit of the map was cleared since this generation, but with it. */
  readonly clearedGeneration: number;
  readonly run: string;
  /** Sequence of the first superblock of the run, and the generation the run began with. */
  readonly runStart: number;
  readonly runGeneration: number;
  /** Ends of earlier runs this one goes back to, newest first. */
  readonly history: readonly RunMark[];
  readonly clean: boolean;
  /** Every leg reads zeros wherever the map says never-written. */
  readonly zeroed: boolean;
  /** Milliseconds since 1970, for people only. */
  readonly writtenAtMs: number;
  readonly dataSectors: number;
  readonly deviceSectors: number;
  readonly regionSectors: number;
  /** A scrub that is not done; null: there is none. */
  readonly scrub: ScrubPlace | null;
  readonly legs: readonly LegEntry[];
}

/** What the superblock says of the leg. */
export function entryOf(
  { legs }: Pick<Superblock, 'legs'>,
  legUuid: string | null,
): LegEntry | undefined {
  return legs.find(({ uuid }) => uuid === legUuid);
}

/** The leg that carries it is in sync by it. */
export function isMemberBySelf(superblock: Superblock): boolean {
  return entryOf(superblock, superblock.legUuid)?.state === 'in-sync';
}

export const MAX_HISTORY = 14;
const NAME_BYTES = 64;
const LEG_NAME_BYTES = 48;

const MAGIC = 'DMIODMIR';
const VERSION = 1;
const CRC_AT = 8;
const FLAG_CLEAN = 1;
const FLAG_ZEROED = 2;
const HISTORY_AT = 144;
const NAME_AT = 368;
const RUN_START_AT = 432;
const RUN_GENERATION_AT = 440;
const SCRUB_AT = 448;
/** Of the repair of a scrub; 0: there is no scrub. */
const SCRUB_REPAIR = { CHECK: 1, MAJORITY: 2, FROM_LEG: 3 } as const;
const HEADER_BYTES = 512;
const ENTRY_BYTES = 120;
const ENTRY_NAME_AT = 72;
const ENTRY_WRITE_MOSTLY = 1;
const ENTRY_FAILED_BY_HAND = 2;
const NUMBERS_AT = [56, 64, 72, 80, 88, 96, 120, RUN_START_AT, RUN_GENERATION_AT];
const MAX_U32 = 0xffffffff;

/** Numbers of format.md; 0 is not a state, so an entry of zeros is seen. */
const STATES: readonly (LegState | null)[] = [
  null,
  'in-sync',
  'resyncing',
  'failed',
  'missing',
  'stale',
];

/** The one thing that tells a torn or rotten superblock from a whole one. */
export const SUPERBLOCK_SUM = {
  isRight(written: number, computed: number): boolean {
    return written === computed;
  },
};

/** Writes the superblock into bytes[at .. at + 8192). */
export function encodeSuperblock(superblock: Superblock, bytes: Uint8Array, at: number): void {
  assert(superblock.legs.length <= MAX_SLOTS, 'more than 64 legs in a superblock');
  const block = bytes.subarray(at, at + SUPERBLOCK_BYTES).fill(0);
  const view = new DataView(block.buffer, block.byteOffset, SUPERBLOCK_BYTES);
  const regions = Math.ceil(superblock.dataSectors / superblock.regionSectors);
  putText(block, 0, MAGIC.length, MAGIC);
  view.setUint32(12, VERSION, true);
  view.setUint32(16, SUPERBLOCK_BYTES, true);
  const clean = superblock.clean ? FLAG_CLEAN : 0;
  view.setUint32(20, clean | (superblock.zeroed ? FLAG_ZEROED : 0), true);
  putHex(block, 24, superblock.setUuid);
  putHex(block, 40, superblock.legUuid);
  putU64(view, 56, superblock.sequence);
  putU64(view, 64, superblock.generation);
  putU64(view, 72, superblock.clearedGeneration);
  putU64(view, 80, superblock.dataSectors);
  putU64(view, 88, superblock.deviceSectors);
  putU64(view, 96, mapSectorOf(superblock.deviceSectors, regions));
  view.setUint32(104, superblock.regionSectors, true);
  view.setUint32(108, regions, true);
  view.setUint16(112, superblock.slot, true);
  view.setUint16(114, superblock.legs.length, true);
  putU64(view, 120, superblock.writtenAtMs);
  putHex(block, 128, superblock.run);
  const history = superblock.history.slice(0, MAX_HISTORY);
  view.setUint16(136, history.length, true);
  putU64(view, RUN_START_AT, superblock.runStart);
  putU64(view, RUN_GENERATION_AT, superblock.runGeneration);
  for (const [i, mark] of history.entries()) putMark(block, view, HISTORY_AT + i * 16, mark);
  putText(block, NAME_AT, NAME_BYTES, superblock.setName);
  if (superblock.scrub !== null) putScrub(view, superblock.scrub);
  for (const [i, leg] of superblock.legs.entries()) {
    encodeLeg(leg, block, view, HEADER_BYTES + i * ENTRY_BYTES);
  }
  view.setUint32(CRC_AT, crc32c(block), true);
}

function putScrub(view: DataView, place: ScrubPlace): void {
  const { repair, region, mismatchedSectors, repairedSectors, unreadableSectors, ranges } = place;
  const { CHECK, MAJORITY, FROM_LEG } = SCRUB_REPAIR;
  const kind = repair === 'none' ? CHECK : repair === 'majority' ? MAJORITY : FROM_LEG;
  view.setUint8(SCRUB_AT, kind);
  view.setUint8(SCRUB_AT + 1, typeof repair === 'string' ? 0 : repair.fromSlot);
  view.setUint32(SCRUB_AT + 4, Math.min(MAX_U32, ranges), true);
  const numbers = [region, mismatchedSectors, repairedSectors, unreadableSectors];
  for (const [i, number] of numbers.entries()) putU64(view, SCRUB_AT + 8 + i * 8, number);
}

/** A place that makes no sense is none: the scrub begins anew. */
function getScrub(view: DataView, regions: number): ScrubPlace | null {
  const kind = view.getUint8(SCRUB_AT);
  const fromSlot = view.getUint8(SCRUB_AT + 1);
  const [region, mismatchedSectors, repairedSectors, unreadableSectors] = [8, 16, 24, 32].map(
    (at) => getU64(view, SCRUB_AT + at) ?? 0,
  );
  if (kind < SCRUB_REPAIR.CHECK || kind > SCRUB_REPAIR.FROM_LEG || fromSlot >= MAX_SLOTS)
    return null;
  if (region === undefined || region > regions) return null;
  return {
    repair:
      kind === SCRUB_REPAIR.CHECK
        ? 'none'
        : kind === SCRUB_REPAIR.MAJORITY
          ? 'majority'
          : { fromSlot },
    region,
    mismatchedSectors: mismatchedSectors ?? 0,
    repairedSectors: repairedSectors ?? 0,
    unreadableSectors: unreadableSectors ?? 0,
    ranges: view.getUint32(SCRUB_AT + 4, true),
  };
}

function encodeLeg(leg: LegEntry, block: Uint8Array, view: DataView, at: number): void {
  putHex(block, at, leg.uuid);
  view.setUint8(at + 16, STATES.indexOf(leg.state));
  view.setUint8(at + 17, leg.slot);
  const writeMostly = leg.writeMostly ? ENTRY_WRITE_MOSTLY : 0;
  const failedByHand = leg.failedByHand ? ENTRY_FAILED_BY_HAND : 0;
  view.setUint16(at + 18, writeMostly | failedByHand, true);
  view.setUint8(at + 36, leg.replaces === null ? 0 : leg.replaces + 1);
  view.setUint32(at + 20, Math.min(MAX_U32, leg.errors.read), true);
  view.setUint32(at + 24, Math.min(MAX_U32, leg.errors.write), true);
  view.setUint32(at + 28, Math.min(MAX_U32, leg.errors.flush), true);
  view.setUint32(at + 32, Math.min(MAX_U32, leg.errors.resync), true);
  putU64(view, at + 40, leg.changedGeneration);
  putU64(view, at + 48, leg.clearedWhenLeft);
  putMark(block, view, at + 56, leg.last);
  putText(block, at + ENTRY_NAME_AT, LEG_NAME_BYTES, leg.name);
}

function putMark(block: Uint8Array, view: DataView, at: number, mark: RunMark): void {
  putHex(block, at, mark.run);
  putU64(view, at + 8, mark.sequence);
}

/** What is in the place of a superblock. `none`: nothing of ours, ever or any more. */
export type SuperblockRead =
  | { readonly kind: 'valid'; readonly superblock: Superblock }
  | { readonly kind: 'none' }
  | { readonly kind: 'invalid'; readonly reason: string };

/** `deviceSectors`: of the device it was read from. */
export function decodeSuperblock(
  bytes: Uint8Array,
  at: number,
  deviceSectors: number,
): SuperblockRead {
  const block = bytes.slice(at, at + SUPERBLOCK_BYTES);
  const view = new DataView(block.buffer);
  if (getText(block, 0, MAGIC.length) !== MAGIC) return { kind: 'none' };
  const version = view.getUint32(12, true);
  if (version !== VERSION) {
    return invalid(`format version ${version}, this program knows ${VERSION}`);
  }
  const sum = view.getUint32(CRC_AT, true);
  view.setUint32(CRC_AT, 0, true);
  const wanted = crc32c(block);
  if (!SUPERBLOCK_SUM.isRight(sum, wanted))
    return invalid(`checksum ${hex(sum)}, its bytes give ${hex(wanted)}: torn or rotten`);
  return decodeChecked(block, view, deviceSectors);
}

/** The sum is right, so what is wrong from here on was written by somebody else than us. */
function decodeChecked(block: Uint8Array, view: DataView, deviceSectors: number): SuperblockRead {
  const isWhole = NUMBERS_AT.every((at) => getU64(view, at) !== null);
  if (!isWhole) return invalid('a number of 2^53 or more');
  const number = (at: number): number => getU64(view, at) ?? 0;
  const dataSectors = number(80);
  const device = number(88);
  const regionSectors = view.getUint32(104, true);
  const regions = view.getUint32(108, true);
  const wrong = wrongGeometry(
    dataSectors,
    regionSectors,
    regions,
    device,
    number(96),
    deviceSectors,
  );
  if (wrong !== null) return invalid(wrong);
  const slot = view.getUint16(112, true);
  const count = view.getUint16(114, true);
  const historyLength = view.getUint16(136, true);
  if (slot >= MAX_SLOTS || count > MAX_SLOTS || historyLength > MAX_HISTORY) {
    return invalid(`slot ${slot} of ${count} legs, ${historyLength} runs: out of bounds`);
  }
  const legs = Array.from({ length: count }, (_, i) =>
    decodeLeg(block, view, HEADER_BYTES + i * ENTRY_BYTES),
  );
  const known = legs.filter((leg) => leg !== null);
  const history = Array.from({ length: historyLength }, (_, i) =>
    getMark(block, view, HISTORY_AT + i * 16),
  );
  if (known.length < count) return invalid('a leg of its table makes no sense');
  const flags = view.getUint32(20, true);
  return {
    kind: 'valid',
    superblock: {
      setUuid: getUuid(block, 24),
      setName: getText(block, NAME_AT, NAME_BYTES),
      legUuid: getUuid(block, 40),
      slot,
      sequence: number(56),
      generation: number(64),
      clearedGeneration: number(72),
      run: getHex(block, 128, 8),
      runStart: number(RUN_START_AT),
      runGeneration: number(RUN_GENERATION_AT),
      history,
      clean: (flags & FLAG_CLEAN) !== 0,
      zeroed: (flags & FLAG_ZEROED) !== 0,
      writtenAtMs: number(120),
      dataSectors,
      deviceSectors: device,
      regionSectors,
      scrub: getScrub(view, regions),
      legs: known,
    },
  };
}

function wrongGeometry(
  dataSectors: number,
  regionSectors: number,
  regions: number,
  device: number,
  mapSector: number,
  deviceSectors: number,
): string | null {
  if (device !== deviceSectors)
    return `written for a device of ${device} sectors, this one has ${deviceSectors}`;
  if (dataSectors === 0 || !isPowerOfTwo(regionSectors))
    return 'no data, or a region size that is no power of two';
  if (regions !== Math.ceil(dataSectors / regionSectors) || regions > MAX_REGIONS_OF_MAP) {
    return `${regions} regions of ${regionSectors} sectors do not make ${dataSectors}`;
  }
  if (mapSector !== mapSectorOf(device, regions) || mapSector < dataSectors) {
    return `the map of ${mapShape(regions).mapSectors} sectors at ${mapSector} is out of its place`;
  }
  return null;
}

function decodeLeg(block: Uint8Array, view: DataView, at: number): LegEntry | null {
  const state = STATES[view.getUint8(at + 16)] ?? null;
  const slot = view.getUint8(at + 17);
  const changedGeneration = getU64(view, at + 40);
  const clearedWhenLeft = getU64(view, at + 48);
  const flags = view.getUint16(at + 18, true);
  const replaces = view.getUint8(at + 36);
  if (state === null || slot >= MAX_SLOTS || replaces > MAX_SLOTS) return null;
  if (changedGeneration === null || clearedWhenLeft === null) return null;
  return {
    uuid: getUuid(block, at),
    slot,
    state,
    writeMostly: (flags & ENTRY_WRITE_MOSTLY) !== 0,
    failedByHand: (flags & ENTRY_FAILED_BY_HAND) !== 0,
    replaces: replaces === 0 ? null : replaces - 1,
    errors: {
      read: view.getUint32(at + 20, true),
      write: view.getUint32(at + 24, true),
      flush: view.getUint32(at + 28, true),
      resync: view.getUint32(at + 32, true),
    },
    changedGeneration,
    clearedWhenLeft,
    last: getMark(block, view, at + 56),
    name: getText(block, at + ENTRY_NAME_AT, LEG_NAME_BYTES),
  };
}

function getMark(block: Uint8Array, view: DataView, at: number): RunMark {
  return { run: getHex(block, at, 8), sequence: getU64(view, at + 8) ?? 0 };
}

function invalid(reason: string): SuperblockRead {
  return { kind: 'invalid', reason };
}

function hex(sum: number): string {
  return `0x${sum.toString(16).padStart(8, '0')}`;
}

/** The newer of two copies: a later sequence. */
export function newerCopy(a: SuperblockRead, b: SuperblockRead): SuperblockRead {
  if (a.kind === 'valid' && b.kind === 'valid') {
    return b.superblock.sequence > a.superblock.sequence ? b : a;
  }
  if (a.kind === 'valid') return a;
  if (b.kind === 'valid') return b;
  return a.kind === 'invalid' ? a : b;
}
