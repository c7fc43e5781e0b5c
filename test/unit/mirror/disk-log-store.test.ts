// The disk log at work: what reaches its device before data does, what a start makes of it, and what
// is written when the device fails.
import { ERRNO } from '../../../core/base/errno.ts';
import { SILENT_LOG } from '../../../core/base/ports.ts';
import { Bio } from '../../../core/block/bio.ts';
import { DEFAULT_LIMITS } from '../../../core/block/limits.ts';
import { MemoryDevice } from '../../../core/block/memory-device.ts';
import { REQ_OP, type ReqOp } from '../../../core/block/op.ts';
import { diskLogBytes } from '../../../core/mirror/disk-log-format.ts';
import { readLogRecord } from '../../../core/mirror/disk-log-record.ts';
import { diskLogParts, type DiskLogParts } from '../../../core/mirror/disk-log-start.ts';
import { STANDING, type Standing } from '../../../core/mirror/leg.ts';
import type { MirrorLegOptions, MirrorEvent } from '../../../core/mirror/options.ts';
import { NoRecorder } from '../../../core/mirror/record.ts';
import { MirrorSet } from '../../../core/mirror/set.ts';
import { kernelStatus } from '../../../core/mirror/status.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';

const REGION = 8;
const BITS_AT = 1024;

/** A device that notes who was written when, and fails what it is told to. */
class Disk extends MemoryDevice {
  fails: ReqOp | null = null;
  readonly history: string[];

  constructor(history: string[], name: string, sectors: number) {
    super(loop, sectors, DEFAULT_LIMITS, name);
    this.history = history;
  }

  override submit(bio: Bio): void {
    if (bio.op !== REQ_OP.READ) {
      this.history.push(
        bio.op === REQ_OP.FLUSH ? `${this.name} flush` : `${this.name} ${bio.sector}`,
      );
    }
    if (bio.op !== this.fails) {
      super.submit(bio);
      return;
    }
    bio.error = ERRNO.EIO;
    this.loop.defer(bio);
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.peek(bytes, 0);
    return bytes;
  }
}

const loop = createManualLoop();

interface World {
  readonly set: MirrorSet;
  readonly log: Disk;
  readonly history: string[];
  readonly events: MirrorEvent[];
  readonly clock: ManualClock;
}

interface Start {
  readonly regions?: number;
  readonly standings?: readonly Standing[];
  readonly found?: Uint8Array | null;
  readonly isRecorded?: boolean;
  readonly membersEqual?: boolean;
  readonly sync?: 'sync' | 'nosync';
  readonly isServe?: boolean;
}

function partsOf(start: Start, log: Disk, legs: readonly MirrorLegOptions[]): DiskLogParts {
  return diskLogParts({
    device: log,
    regions: start.regions ?? 8,
    found: start.found ?? null,
    sync: start.sync,
    isRecorded: start.isRecorded ?? true,
    legs,
    membersEqual: start.membersEqual ?? true,
    recorder: start.isServe === true ? null : new NoRecorder(loop),
  });
}

function begin(start: Start = {}): World {
  const history: string[] = [];
  const events: MirrorEvent[] = [];
  const { regions = 8, standings = [STANDING.MEMBER, STANDING.MEMBER] } = start;
  const log = new Disk(history, 'log', diskLogBytes(regions, 512) / 512);
  const legs = standings.map((standing, i) => {
    const device = new Disk(history, `leg${i}`, regions * REGION);
    return { name: device.name, startSector: 0, device, standing };
  });
  const clock = new ManualClock();
  const set = new MirrorSet({
    name: 'm',
    loop,
    clock,
    log: SILENT_LOG,
    sectors: regions * REGION,
    regionSectors: REGION,
    generation: 0,
    readPolicy: { kind: 'round-robin' },
    onEvent: (event) => events.push(event),
    ...partsOf(start, log, legs),
  });
  return { set, log, history, events, clock };
}

function write(set: MirrorSet, region: number): number {
  const bio = new Bio();
  bio.op = REQ_OP.WRITE;
  bio.sector = region * REGION;
  bio.sectors = 1;
  bio.setBuffer(new Uint8Array(512).fill(9), 0, 512);
  bio.owner = { endIo: () => undefined };
  bio.error = -1;
  set.map(bio);
  runUntilIdle(loop);
  return bio.error;
}

function logOf(bits: readonly number[], regions = 8): Uint8Array {
  const log = new Uint8Array(diskLogBytes(regions, 512));
  log.set([0x72, 0x52, 0x69, 0x4d, 2, 0, 0, 0, regions & 0xff, regions >> 8], 0);
  log.set(bits, BITS_AT);
  return log;
}

function members(bits: { next(from: number): number }): number[] {
  const found: number[] = [];
  for (let r = bits.next(0); r >= 0; r = bits.next(r + 1)) found.push(r);
  return found;
}

describe('a write', () => {
  it('goes to the legs when the mark has been written and flushed, and not before', () => {
    const { set, log, history } = begin();
    set.start();
    runUntilIdle(loop);
    expect([...log.bytes(1032)].slice(BITS_AT)).toEqual([0xff, 0, 0, 0, 0, 0, 0, 0]);
    history.length = 0;
    expect(write(set, 3)).toBe(0);
    expect(history).toEqual(['log 0', 'log flush', 'leg0 24', 'leg1 24']);
    expect(log.bytes(1025)[BITS_AT]).toBe(0b1111_0111);
    history.length = 0;
    expect(write(set, 3)).toBe(0);
    expect(history).toEqual(['leg0 24', 'leg1 24']);
  });

  it.each([
    [REQ_OP.WRITE, 'D', 'written'],
    [REQ_OP.FLUSH, 'F', 'flushed'],
  ] as const)(
    'gets the errno of a log whose op %d fails, and no leg is touched',
    (op, letter, what) => {
      const { set, log, history, events } = begin();
      set.start();
      runUntilIdle(loop);
      log.fails = op;
      history.length = 0;
      expect(write(set, 5)).toBe(ERRNO.EIO);
      expect(write(set, 6)).toBe(ERRNO.EIO);
      expect(history.filter((line) => line.startsWith('leg'))).toEqual([]);
      expect(kernelStatus(set)).toMatch(new RegExp(` 3 disk log ${letter}$`));
      expect(events).toMatchObject([
        {
          kind: 'log-failed',
          message: `the dirty log log cannot be ${what}: EIO; writes get that error`,
        },
      ]);
      log.fails = null;
      expect(write(set, 5)).toBe(0);
      expect(kernelStatus(set)).toMatch(/ 3 disk log A$/);
    },
  );

  it('marks regions in the block that has their bit', () => {
    const regions = 70_000;
    const { set, log, history } = begin({ regions });
    set.start();
    runUntilIdle(loop);
    history.length = 0;
    // Bit 24,576 is the first of the second 4096 bytes; 57,344 of the third.
    for (const region of [24_575, 24_576, 57_344]) expect(write(set, region)).toBe(0);
    expect(history.filter((line) => /^log \d/.test(line))).toEqual(['log 0', 'log 8', 'log 16']);
    const bytes = log.bytes(diskLogBytes(regions, 512));
    const isClean = (r: number): boolean =>
      (((bytes[BITS_AT + (r >> 3)] ?? 0) >> (r & 7)) & 1) === 1;
    expect([24_574, 24_575, 24_576, 24_580, 57_343, 57_344].map(isClean)).toEqual([
      true,
      false,
      false,
      true,
      true,
      false,
    ]);
  });
});

describe('a start', () => {
  const { MEMBER, JOINING, STALE } = STANDING;

  it.each<[string, Start, number[], Standing[], (number[] | 'all')[]]>([
    ['clean stop, clean log', { found: logOf([0xff]) }, [], [MEMBER, MEMBER], [[], []]],
    ['clean stop, dirty log', { found: logOf([0xf5]) }, [1, 3], [MEMBER, MEMBER], [[], []]],
    ['crash', { found: logOf([0xf5]), membersEqual: false }, [1, 3], [MEMBER, MEMBER], [[], []]],
    [
      'empty log',
      { found: new Uint8Array(1536) },
      [0, 1, 2, 3, 4, 5, 6, 7],
      [MEMBER, MEMBER],
      [[], []],
    ],
    ['new log after a clean stop', { found: null }, [], [MEMBER, MEMBER], [[], []]],
    [
      'new log after a crash',
      { found: null, membersEqual: false },
      [0, 1, 2, 3, 4, 5, 6, 7],
      [MEMBER, MEMBER],
      [[], []],
    ],
    [
      'nosync after a crash: the log counts',
      { found: logOf([0xfe]), membersEqual: false, sync: 'nosync' },
      [0],
      [MEMBER, MEMBER],
      [[], []],
    ],
    [
      'sync on record',
      { found: logOf([0xff]), sync: 'sync' },
      [0, 1, 2, 3, 4, 5, 6, 7],
      [MEMBER, MEMBER],
      [[], []],
    ],
    [
      'grown: what the log does not know',
      { found: logOf([0xff], 6) },
      [6, 7],
      [MEMBER, MEMBER],
      [[], []],
    ],
    [
      'a clean log and a leg that missed writes: the record wins',
      { found: logOf([0xff]), standings: [STALE, MEMBER] },
      [],
      [STALE, MEMBER],
      ['all', []],
    ],
    [
      'from dm-mirror, by its word',
      {
        found: logOf([0xf5]),
        isRecorded: false,
        membersEqual: false,
        standings: [MEMBER, JOINING],
      },
      [],
      [MEMBER, JOINING],
      [[], [1, 3]],
    ],
    [
      'new and not equal',
      { isRecorded: false, membersEqual: false, standings: [MEMBER, JOINING] },
      [],
      [MEMBER, JOINING],
      [[], 'all'],
    ],
  ])('%s', (_, start, doubt, standings, lacks) => {
    const { set } = begin(start);
    expect(members(set.doubt)).toEqual(doubt);
    expect(set.legs.map(({ standing }) => standing)).toEqual(standings);
    const all = [0, 1, 2, 3, 4, 5, 6, 7];
    expect(set.legs.map((leg) => members(leg.outOfSync))).toEqual(
      lacks.map((each) => (each === 'all' ? all : each)),
    );
  });

  it('keeps what a leg lacks not clean in the log', () => {
    const { set, log } = begin({
      found: logOf([0xff]),
      standings: [STANDING.STALE, STANDING.MEMBER],
    });
    set.start();
    runUntilIdle(loop);
    expect(log.bytes(1025)[BITS_AT]).toBe(0);
  });
});

describe('the record in the log', () => {
  const legs = [
    { path: 'leg0', startSector: 0 },
    { path: 'leg1', startSector: 0 },
  ];

  it('says who is in sync, to a daemon without a state directory', () => {
    const { set, log } = begin({ isServe: true });
    set.start();
    runUntilIdle(loop);
    const [first] = set.legs;
    if (first !== undefined) set.failLegByHand(first);
    runUntilIdle(loop);
    const bytes = log.bytes(1536);
    expect(readLogRecord(bytes, legs)).toMatchObject({
      generation: 2,
      legs: [
        { path: 'leg0', state: 'failed', slot: 0 },
        { path: 'leg1', state: 'in-sync', slot: 1 },
      ],
    });
    const others = readLogRecord(bytes, [
      { path: 'leg1', startSector: 0 },
      { path: 'new', startSector: 0 },
    ]);
    expect(others?.legs.map(({ state, slot }) => [state, slot])).toEqual([
      ['in-sync', 1],
      ['resyncing', 0],
    ]);
    expect(readLogRecord(bytes, [{ path: 'x', startSector: 0 }])).toBeNull();
    bytes[540] = (bytes[540] ?? 0) ^ 1;
    expect(readLogRecord(bytes, legs)).toBeNull();
  });

  it('is gone when a state directory has it', () => {
    const serve = begin({ isServe: true });
    serve.set.start();
    runUntilIdle(loop);
    const { set, log } = begin({ found: serve.log.bytes(1536) });
    set.start();
    runUntilIdle(loop);
    expect(readLogRecord(log.bytes(1536), legs)).toBeNull();
  });
});
