// R23: input that cannot be is refused before any I/O, with an error that names the argument.
import { BioVec } from '../../../core/block/bio.ts';
import type { BlockDevice } from '../../../core/block/device.ts';
import { DmIoArgumentError } from '../../../core/dm-io/errors.ts';
import { dmIo } from '../../../core/dm-io/io.ts';
import type { PageList } from '../../../core/dm-io/memory.ts';
import type { IoRegionSpec } from '../../../core/dm-io/region.ts';
import {
  dmIoAsync,
  dmIoAsyncBvec,
  dmIoAsyncVm,
  dmIoGet,
  dmIoPut,
  dmIoSync,
  dmIoSyncBvec,
  dmIoSyncVm,
  MAX_SECTORS,
  REQ_OP,
} from '../../../core/index.ts';
import { DmIoServices, READ, WRITE, type Rw } from '../../../core/dm-io/services.ts';
import { Disk, DiskWorld } from '../../support/dm-io-disk.ts';
import { Fixture, pages, pattern } from '../../support/dm-io-fixture.ts';

const f = new Fixture();
const disk = f.disk(64);
const disk4k = new Disk(f.world, 64, { logicalBlockSize: 4096 }, 'disk4k');
const elsewhere = new Disk(new DiskWorld(), 64, {}, 'elsewhere');
const region: IoRegionSpec = { device: disk, sector: 0, count: 8 };
const data = pattern(8);
const fn = (): never => {
  throw new Error('a refused call told its routine');
};

const cycle = (length: number): PageList => {
  const nodes = Array.from({ length }, () => ({ page: pattern(1), next: null as PageList | null }));
  nodes.forEach((node, i) => (node.next = nodes[(i + 1) % length] ?? null));
  return nodes[0] as PageList;
};
const tailed = (): PageList => ({ page: pattern(8), next: { page: pattern(8), next: cycle(3) } });

/** What a caller without types may pass. */
const as = (value: unknown): never => value as never;
const bad = (change: object): IoRegionSpec[] => [region, as({ ...region, ...change })];

const like = { submit: fn, loop: f.world.loop, limits: disk.limits };

type Row = readonly [what: string, argument: string, regions: IoRegionSpec[], rw?: Rw];

const REGIONS: readonly Row[] = [
  ['no array of regions', 'regions', as(null)],
  ['one region instead of an array', 'regions', as(region)],
  ['65 regions', 'regions', Array<IoRegionSpec>(65).fill(region)],
  ['a null region', 'regions[1]', as([region, null])],
  ['a null device', 'regions[1].device', bad({ device: null })],
  ['no device', 'regions[1].device', bad({ device: undefined })],
  ['a device that takes no bios', 'regions[1].device', bad({ device: { name: 'x' } })],
  [
    'a device without limits',
    'regions[1].device',
    bad({ device: { submit: fn, loop: f.world.loop } }),
  ],
  ['a device with null limits', 'regions[1].device', bad({ device: { ...like, limits: null } })],
  [
    'a device with a loop that is none',
    'regions[1].device',
    bad({ device: { ...like, loop: {} } }),
  ],
  ['a device with a null loop', 'regions[1].device', bad({ device: { ...like, loop: null } })],
  ['a device on another loop', 'regions[1].device', bad({ device: elsewhere })],
  ['a negative sector', 'regions[1].sector', bad({ sector: -1 })],
  ['a fractional sector', 'regions[1].sector', bad({ sector: 0.5 })],
  ['a sector that is no number', 'regions[1].sector', bad({ sector: '0' })],
  ['a bigint sector', 'regions[1].sector', bad({ sector: 0n })],
  ['a NaN sector', 'regions[1].sector', bad({ sector: NaN })],
  ['an infinite sector', 'regions[1].sector', bad({ sector: Infinity })],
  ['a sector whose bytes pass 2^53', 'regions[1].sector', bad({ sector: MAX_SECTORS + 1 })],
  ['a sector past 2^53', 'regions[1].sector', bad({ sector: 2 ** 53 })],
  ['a negative count', 'regions[1].count', bad({ count: -8 })],
  ['a fractional count', 'regions[1].count', bad({ count: 7.5 })],
  ['no count', 'regions[1].count', bad({ count: undefined })],
  ['a count past 2^53', 'regions[1].count', bad({ count: 2 ** 53 })],
  ['a region that ends past 2^53 bytes', 'regions[1].count', bad({ sector: MAX_SECTORS - 7 })],
  ['a negative part', 'regions[1].memorySector', bad({ memorySector: -1 })],
  ['a fractional part', 'regions[1].memorySector', bad({ memorySector: 0.5 })],
  ['a part past 2^53', 'regions[1].memorySector', bad({ memorySector: MAX_SECTORS })],
  ['a sector off the 4 KiB block', 'regions[1].sector', bad({ device: disk4k, sector: 4 })],
  ['a count off the 4 KiB block', 'regions[1].count', bad({ device: disk4k, count: 4 })],
  [
    'an empty region off the block',
    'regions[1].sector',
    bad({ device: disk4k, sector: 4, count: 0 }),
  ],
  ['rw that is a flag', 'rw', [region], as(2)],
  ['rw in words', 'rw', [region], as('READ')],
  ['no rw', 'rw', [region], as(null)],
];

const list = pages([pattern(8)]);
const vec = (offset: unknown, length: unknown, page: unknown = data): BioVec[] => [
  as({ page, offset, length }),
];
const s = f.services;

/** Every memory that cannot be, for a region of 8 sectors: its own argument, and both directions. */
const MEMORIES: readonly (readonly [string, string, (rw: Rw) => unknown, 'read only'?])[] = [
  ['no page list', 'pageList', (rw) => s.sync([region], rw, as(null), 0)],
  ['a short page list', 'pageList', (rw) => s.sync([region], rw, pages([pattern(7)]), 0)],
  ['a list short by its offset', 'pageList', (rw) => s.sync([region], rw, list, 512)],
  ['an offset out of the page', 'offset', (rw) => s.sync([region], rw, list, 4096)],
  ['an offset off the sector', 'offset', (rw) => s.sync([region], rw, list, 100)],
  ['a negative offset', 'offset', (rw) => s.sync([region], rw, list, -512)],
  ['no offset', 'offset', (rw) => s.sync([region], rw, list, as(undefined))],
  [
    'a page that is none',
    'pageList',
    (rw) => s.sync([region], rw, as({ page: [1], next: null }), 0),
  ],
  ['an empty page', 'pageList', (rw) => s.sync([region], rw, pages([new Uint8Array(0)]), 0)],
  [
    'a page of 100 bytes',
    'pageList',
    (rw) => s.sync([region], rw, pages([pattern(1), new Uint8Array(100), data]), 0),
  ],
  [
    'a list that ends in undefined',
    'pageList',
    (rw) => s.sync([region], rw, as({ page: data }), 0),
  ],
  [
    'a page list of one, cyclic',
    'pageList',
    (rw) => s.sync([region], rw, cycle(1), 0),
    'read only',
  ],
  [
    'a cyclic page list of seven',
    'pageList',
    (rw) => s.sync([region], rw, cycle(7), 0),
    'read only',
  ],
  [
    'a circle behind what is needed',
    'pageList',
    (rw) => s.sync([region], rw, tailed(), 0),
    'read only',
  ],
  ['no vectors', 'vecs', (rw) => s.syncBvec([region], rw, as(undefined))],
  ['an empty table', 'vecs', (rw) => s.syncBvec([region], rw, [])],
  ['a short table', 'vecs', (rw) => s.syncBvec([region], rw, as(vec(0, 3584)))],
  ['a null vector', 'vecs[0]', (rw) => s.syncBvec([region], rw, as([null]))],
  ['a vector of 100 bytes', 'vecs[0].length', (rw) => s.syncBvec([region], rw, vec(0, 100))],
  ['a vector of nothing', 'vecs[0].length', (rw) => s.syncBvec([region], rw, vec(0, 0))],
  [
    'a vector of less than nothing',
    'vecs[0].length',
    (rw) => s.syncBvec([region], rw, vec(0, -512)),
  ],
  [
    'a second vector of 4095 bytes',
    'vecs[1].length',
    (rw) => s.syncBvec([region], rw, [...vec(0, 512), ...vec(0, 4095)]),
  ],
  ['a vector past its page', 'vecs[0].offset', (rw) => s.syncBvec([region], rw, vec(1, 4096))],
  ['a negative vector offset', 'vecs[0].offset', (rw) => s.syncBvec([region], rw, vec(-1, 4096))],
  ['a vector without a page', 'vecs[0].page', (rw) => s.syncBvec([region], rw, vec(0, 4096, null))],
  ['no buffer', 'data', (rw) => s.syncVm([region], rw, as(null))],
  ['a DataView', 'data', (rw) => s.syncVm([region], rw, as(new DataView(data.buffer)))],
  ['a buffer one byte short', 'data', (rw) => s.syncVm([region], rw, data.subarray(1))],
  [
    'a buffer short for its part',
    'data',
    (rw) => s.syncVm([{ ...region, memorySector: 1 }], rw, data),
  ],
];

function refused(argument: string, call: () => unknown): void {
  let error: unknown;
  try {
    call();
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(DmIoArgumentError);
  expect((error as DmIoArgumentError).argument).toBe(argument);
  expect((error as Error).message.startsWith(`${argument}: `)).toBe(true);
  f.world.settle();
  expect([f.world.log.length, s.underWay, s.waitingCount]).toEqual([0, 0, 0]);
}

describe('R23, before any I/O', () => {
  const rows = REGIONS.map(([what, argument, regions, rw = WRITE]) => {
    return { what, argument, regions, rw };
  });

  it.each(rows)('every service refuses $what, naming $argument', ({ argument, regions, rw }) => {
    const vecs = [new BioVec(data, 0, 4096)];
    refused(argument, () => s.sync(regions, rw, list, 0));
    refused(argument, () => s.async(regions, rw, list, 0, fn, null));
    refused(argument, () => s.syncBvec(regions, rw, vecs));
    refused(argument, () => s.asyncBvec(regions, rw, vecs, fn, null));
    refused(argument, () => s.syncVm(regions, rw, data));
    refused(argument, () => s.asyncVm(regions, rw, data, fn, null));
  });

  it.each(rows.filter(({ argument }) => argument !== 'rw'))(
    'dmIo refuses $what, naming $argument',
    ({ argument, regions }) => {
      refused(argument, () => dmIo(f.request(REQ_OP.WRITE, 0, data), regions));
      refused(argument, () => dmIo(f.request(REQ_OP.DISCARD, 0), regions));
    },
  );

  const memories = MEMORIES.map(([what, argument, call, only]) => ({ what, argument, call, only }));

  it.each(memories)('refuses $what, naming $argument', ({ argument, call, only }) => {
    refused(argument, () => call(READ));
    if (only === undefined) refused(argument, () => call(WRITE));
  });

  it('the same memory is refused of the asynchronous services', () => {
    refused('pageList', () => s.async([region], WRITE, pages([pattern(7)]), 0, fn, null));
    refused('pageList', () => s.async([region], READ, cycle(1), 0, fn, null));
    refused('vecs[0].length', () => s.asyncBvec([region], WRITE, vec(0, 100), fn, null));
    refused('data', () => s.asyncVm([region], WRITE, data.subarray(1), fn, null));
  });

  it('refuses a completion routine that is none', () => {
    refused('fn', () => s.async([region], WRITE, list, 0, as(undefined), null));
    refused('fn', () => s.asyncBvec([region], WRITE, [new BioVec(data, 0, 4096)], as({}), null));
    refused('fn', () => s.asyncVm([region], WRITE, data, as('done'), null));
  });

  it('refuses a request to dmIo that cannot be', () => {
    const make = (change: object) => Object.assign(f.request(REQ_OP.WRITE, 0, data), change);
    refused('request.client', () => dmIo(make({ client: null }), [region]));
    refused('request.op', () => dmIo(make({ op: 7 }), [region]));
    refused('request.flags', () => dmIo(make({ flags: 16 }), [region]));
    refused('request.flags', () => dmIo(make({ flags: -1 }), [region]));
    refused('request.flags', () => dmIo(make({ flags: 2 ** 33 }), [region]));
    refused('request.memory', () => dmIo(f.request(REQ_OP.READ, 0), [region]));
    const taken = f.request(REQ_OP.WRITE, 0, data);
    taken.memory.setNone();
    refused('request.memory', () => dmIo(taken, [region]));
    refused('data', () => dmIo(f.request(REQ_OP.WRITE, 0, data.subarray(512)), [region]));
    const offset = f.request(REQ_OP.WRITE, 0, data);
    offset.memory.setBytes(data, 5000);
    refused('offset', () => dmIo(offset, [region]));
    const vecs = f.request(REQ_OP.WRITE, 0);
    vecs.memory.setVecs([new BioVec(data, 0, 512), new BioVec(data, 0, 4096)], 1);
    refused('vecs', () => dmIo(vecs, [region]));
    const cyclic = f.request(REQ_OP.READ, 0);
    cyclic.memory.setPageList(cycle(2), 0);
    refused('pageList', () => dmIo(cyclic, [region]));
  });

  it('refuses a request under way', () => {
    const own = new Fixture();
    const made = own.request(REQ_OP.WRITE, 0, data);
    made.owner = { dmIoDone: () => undefined };
    const one = [{ device: own.disk(), sector: 0, count: 8 }];
    dmIo(made, one);
    expect(() => dmIo(made, one)).toThrow(/^request: /);
    own.world.settle();
    expect(own.world.log.length).toBe(1);
  });

  it('regions of one call on two loops, before the services know a loop', () => {
    const services = new DmIoServices();
    services.get(1);
    refused('regions[1].device', () => services.syncVm(bad({ device: elsewhere }), WRITE, data));
    refused('regions', () => services.asyncVm([], WRITE, data, fn, null));
  });

  it('takes what is right at the edges', () => {
    const own = new Fixture();
    const device: BlockDevice = own.disk(64);
    const last = { device, sector: MAX_SECTORS - 8, count: 8 };
    expect(own.services.syncVm([last], WRITE, data).ret).toBe(-5);
    expect(
      own.services.syncVm(Array<IoRegionSpec>(64).fill({ ...last, sector: 0 }), WRITE, data).ret,
    ).toBe(0);
    expect(own.services.sync([{ device, sector: 0, count: 8 }], WRITE, cycle(7), 0).ret).toBe(0);
    expect(own.services.sync([{ device, sector: 0, count: 16 }], WRITE, tailed(), 0).ret).toBe(0);
    expect(
      own.services.syncVm([{ device, sector: 0, count: 0 }], WRITE, new Uint8Array(0)).ret,
    ).toBe(0);
  });
});

describe('R23, without a reserve', () => {
  it('the six services by the kernel names refuse', () => {
    const vecs = [new BioVec(data, 0, 4096)];
    refused('reserve', () => dmIoSync([region], WRITE, list, 0));
    refused('reserve', () => dmIoAsync([region], WRITE, list, 0, fn, null));
    refused('reserve', () => dmIoSyncBvec([region], WRITE, vecs));
    refused('reserve', () => dmIoAsyncBvec([region], WRITE, vecs, fn, null));
    refused('reserve', () => dmIoSyncVm([region], WRITE, data));
    refused('reserve', () => dmIoAsyncVm([region], WRITE, data, fn, null));
  });

  it.each([0, -1, 0.5, NaN, Infinity, 16385, '1', undefined])('dmIoGet(%p) is refused', (pages) => {
    refused('pages', () => dmIoGet(as(pages)));
    refused('reserve', () => dmIoSyncVm([region], WRITE, data));
  });

  it('dmIoGet of a loop that is none is refused', () => {
    refused('loop', () => dmIoGet(1, as(null)));
    refused('loop', () => dmIoGet(1, as({ defer: fn })));
    refused('reserve', () => dmIoSyncVm([region], WRITE, data));
  });

  it('dmIoPut of pages nobody holds is refused', () => {
    refused('pages', () => dmIoPut(1));
  });
});
