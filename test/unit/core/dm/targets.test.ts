// What the test targets do with bios, beyond the contract every device keeps (test/conformance).
import { ERRNO } from '../../../../core/base/errno.ts';
import { REQ_OP } from '../../../../core/block/op.ts';
import { TableError } from '../../../../core/dm/target.ts';
import type { Target } from '../../../../core/dm/target.ts';
import { Bench } from '../../../conformance/bench.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { createManualLoop } from '../../../support/manual-loop.ts';
import { mapDevice } from '../../../support/mapped.ts';
import { MemoryDevice } from '../../../support/memory-device.ts';

const SECTORS = 64;

function setUp(table: string) {
  const loop = createManualLoop();
  const clock = new ManualClock();
  const make = (name: string) => new MemoryDevice({ name, loop, sectors: SECTORS });
  const legs = { a: make('a'), b: make('b'), c: make('c') };
  const device = mapDevice(table, { loop, clock, devices: legs });
  const target = device.table.entries[0]?.target as Target;
  const say = (...words: readonly string[]): string => target.message?.(words) ?? 'no messages';
  return { device, target, legs, clock, bench: new Bench(device), say };
}

function bytesOf(value: number, sectors = 1): Uint8Array {
  return new Uint8Array(sectors * 512).fill(value);
}

describe('striped', () => {
  const TABLE = '0 24 striped 3 4 a 0 b 8 c 0';

  it('deals chunks out in turn', async () => {
    const { bench, legs } = setUp(TABLE);
    for (let chunk = 0; chunk < 6; chunk += 1) {
      const bytes = bytesOf(chunk + 1, 4);
      await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sector: chunk * 4, sectors: 4, bytes });
    }
    const at = (leg: MemoryDevice, sector: number) => leg.bytes[sector * 512];
    expect([at(legs.a, 0), at(legs.b, 8), at(legs.c, 0)]).toEqual([1, 2, 3]);
    expect([at(legs.a, 4), at(legs.b, 12), at(legs.c, 4)]).toEqual([4, 5, 6]);
  });

  it('zeroes one range on each stripe, and flushes all of them', async () => {
    const { bench, legs } = setUp(TABLE);
    const bytes = bytesOf(9, 24);
    await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sectors: 24, bytes });
    for (const leg of [legs.a, legs.b, legs.c]) leg.seen = [];
    await bench.expect(0, 'zeroing', { op: REQ_OP.WRITE_ZEROES, sector: 2, sectors: 15 });
    await bench.expect(0, 'a FLUSH', { op: REQ_OP.FLUSH });
    // Sectors 2..16 are chunk 0 from 2 on, chunks 1, 2 and 3 whole, and one sector of chunk 4.
    const zeroes = (sector: number, sectors: number) => {
      return { op: REQ_OP.WRITE_ZEROES, flags: 0, sector, sectors };
    };
    const flush = { op: REQ_OP.FLUSH, flags: 0, sector: 0, sectors: 0 };
    expect(legs.a.seen).toEqual([zeroes(2, 6), flush]);
    expect(legs.b.seen).toEqual([zeroes(8, 5), flush]);
    expect(legs.c.seen).toEqual([zeroes(0, 4), flush]);
  });

  it('says D of a stripe that has failed', async () => {
    const { bench, legs, target } = setUp(TABLE);
    expect(target.status()).toBe('3 a b c 1 AAA');
    legs.b.fault = () => ERRNO.EIO;
    const bytes = bytesOf(1, 24);
    await bench.expect(ERRNO.EIO, 'a WRITE', { op: REQ_OP.WRITE, sectors: 24, bytes });
    expect(target.status()).toBe('3 a b c 1 ADA');
  });

  it('refuses chunks that are no whole blocks', () => {
    const loop = createManualLoop();
    const limits = { logicalBlockSize: 4096 };
    const a = new MemoryDevice({ loop, sectors: SECTORS, limits });
    const map = () => mapDevice('0 24 striped 1 12 a 0', { loop, devices: { a } });
    expect(map).toThrow(
      'table line 1: the chunk size of 12 sectors is no multiple of the 8 sectors',
    );
  });
});

describe('delay', () => {
  it('holds each kind back for its own time, and counts them', async () => {
    const { bench, clock, target } = setUp('0 8 delay a 0 100 a 0 50 a 0 10');
    const read = bench.submit(bench.bio({ op: REQ_OP.READ, sectors: 1, bytes: bytesOf(0) }));
    const write = bench.submit(bench.bio({ op: REQ_OP.WRITE, sectors: 1, bytes: bytesOf(5) }));
    const flush = bench.submit(bench.bio({ op: REQ_OP.FLUSH }));
    await bench.turn();
    expect(target.status()).toBe('1 1 1');
    const seen: string[] = [];
    for (let ms = 0; ms <= 100; ms += 10) {
      await bench.turn();
      await bench.turn();
      seen.push([read, write, flush].map(({ ends }) => ends).join(''));
      clock.advance(10);
    }
    expect(seen).toEqual([
      '000', '001', '001', '001', '001', '011', '011', '011', '011', '011', '111',
    ]); // prettier-ignore
    expect(target.status()).toBe('0 0 0');
    expect(clock.timers).toBe(0);
  });

  it('lets all go when it is suspended, and holds none back until it is resumed', async () => {
    const { bench, target, clock } = setUp('0 8 delay a 0 1000');
    bench.submit(bench.bio({ op: REQ_OP.WRITE, sectors: 1, bytes: bytesOf(5) }));
    target.presuspend?.();
    expect(clock.timers).toBe(0);
    bench.submit(bench.bio({ op: REQ_OP.FLUSH }));
    await bench.settle();
    target.resume?.();
    bench.submit(bench.bio({ op: REQ_OP.FLUSH }));
    await bench.turn();
    expect(target.status()).toBe('0 0 1');
    clock.advance(1000);
    await bench.settle();
  });

  it('reads from one device, writes to another, and flushes all that was written', async () => {
    const { bench, legs } = setUp('0 8 delay a 0 0 b 8 0 c 0 0');
    legs.b.seen = [];
    legs.c.seen = [];
    await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sectors: 1, bytes: bytesOf(5) });
    await bench.expect(0, 'a FLUSH', { op: REQ_OP.FLUSH });
    const bytes = bytesOf(1);
    await bench.expect(0, 'a READ', { op: REQ_OP.READ, sectors: 1, bytes });
    expect(bytes).toEqual(bytesOf(0));
    expect(legs.b.bytes[8 * 512]).toBe(5);
    expect(legs.b.seen.map(({ op }) => op)).toEqual([REQ_OP.WRITE, REQ_OP.FLUSH]);
    expect(legs.c.seen.map(({ op }) => op)).toEqual([REQ_OP.FLUSH]);
  });
});

describe('flakey', () => {
  const write = { op: REQ_OP.WRITE, sectors: 2, bytes: bytesOf(5, 2) };
  const read = () => ({ op: REQ_OP.READ, sectors: 2, bytes: bytesOf(1, 2) });

  it('is good for UP seconds and fails all for DOWN, again and again', async () => {
    const { bench, clock } = setUp('0 8 flakey a 0 3 2');
    for (let second = 0; second < 12; second += 1) {
      const errno = second % 5 < 3 ? 0 : ERRNO.EIO;
      await bench.expect(errno, `a WRITE in second ${second}`, write);
      await bench.expect(errno, `a READ in second ${second}`, read());
      await bench.expect(errno, `a FLUSH in second ${second}`, { op: REQ_OP.FLUSH });
      clock.advance(1000);
    }
  });

  it('acknowledges writes it drops, and reads on', async () => {
    const { bench, legs } = setUp('0 8 flakey a 0 0 1 1 drop_writes');
    legs.a.seen = [];
    await bench.expect(0, 'a WRITE', write);
    await bench.expect(0, 'a FLUSH', { op: REQ_OP.FLUSH });
    const fields = read();
    await bench.expect(0, 'a READ', fields);
    expect(fields.bytes).toEqual(bytesOf(0, 2));
    expect(legs.a.seen.map(({ op }) => op)).toEqual([REQ_OP.READ]);
  });

  it.each([
    ['error_writes', ERRNO.EIO, 0],
    ['error_reads', 0, ERRNO.EIO],
  ])('with %s fails only those', async (feature, writeErrno, readErrno) => {
    const { bench } = setUp(`0 8 flakey a 0 0 1 1 ${feature}`);
    await bench.expect(writeErrno, 'a WRITE', write);
    await bench.expect(readErrno, 'a READ', read());
  });

  it('corrupts a byte of what is read, not of the disk', async () => {
    const { bench, legs } = setUp('0 8 flakey a 0 0 1 5 corrupt_bio_byte 514 r 7 0');
    await bench.expect(0, 'a WRITE', write);
    expect(legs.a.bytes.subarray(0, 1024)).toEqual(write.bytes);
    const fields = read();
    await bench.expect(0, 'a READ', fields);
    const wanted = bytesOf(5, 2);
    wanted[513] = 7;
    expect(fields.bytes).toEqual(wanted);
  });

  it("corrupts a byte of what is written, not of the client's memory", async () => {
    const { bench, legs } = setUp('0 8 flakey a 0 0 1 5 corrupt_bio_byte 2 w 7 0');
    await bench.expect(0, 'a WRITE', write);
    expect(write.bytes).toEqual(bytesOf(5, 2));
    const wanted = bytesOf(5, 2);
    wanted[1] = 7;
    expect(legs.a.bytes.subarray(0, 1024)).toEqual(wanted);
  });

  it.each(['random_read_corrupt', 'random_write_corrupt'])(
    '%s changes one byte',
    async (feature) => {
      const { bench } = setUp(`0 8 flakey a 0 0 1 2 ${feature} 1000000000`);
      await bench.expect(0, 'a WRITE', write);
      const fields = read();
      await bench.expect(0, 'a READ', fields);
      expect(fields.bytes.filter((byte) => byte !== 5)).toHaveLength(1);
    },
  );
});

describe('dust', () => {
  const TABLE = '0 64 dust a 0 1024';
  const read = (sector: number) => {
    return { op: REQ_OP.READ, sector, sectors: 2, bytes: bytesOf(0, 2) };
  };

  it('fails reads of bad blocks when it is enabled, and a write heals them', async () => {
    const { bench, target, say } = setUp(TABLE);
    expect(say('addbadblock', '3')).toBe('');
    await bench.expect(0, 'a READ in bypass', read(6));
    expect(target.status()).toBe('a bypass verbose');
    say('enable');
    say('quiet');
    expect(target.status()).toBe('a fail_read_on_bad_block quiet');
    await bench.expect(ERRNO.EIO, 'a READ of the block', read(6));
    await bench.expect(ERRNO.EIO, 'a READ that touches it', read(7));
    await bench.expect(0, 'a READ before it', read(4));
    await bench.expect(0, 'a READ behind it', read(8));
    await bench.expect(0, 'a FLUSH', { op: REQ_OP.FLUSH });
    const write = { op: REQ_OP.WRITE, sector: 6, sectors: 1, bytes: bytesOf(5) };
    await bench.expect(0, 'a WRITE', write);
    await bench.expect(0, 'a READ of the block', read(6));
    expect(say('countbadblocks')).toBe('countbadblocks: 0 badblock(s) found');
  });

  it('fails as many writes as it was told', async () => {
    const { bench, say } = setUp(TABLE);
    say('addbadblock', '0', '2');
    say('addbadblock', '1');
    say('enable');
    const write = { op: REQ_OP.WRITE, sectors: 4, bytes: bytesOf(5, 4) };
    await bench.expect(ERRNO.EIO, 'the first WRITE', write);
    await bench.expect(ERRNO.EIO, 'the second WRITE', write);
    expect(say('countbadblocks')).toBe('countbadblocks: 2 badblock(s) found');
    await bench.expect(0, 'the third WRITE', write);
    expect(say('countbadblocks')).toBe('countbadblocks: 0 badblock(s) found');
  });

  it("answers messages in the kernel's words", () => {
    const { say } = setUp(TABLE);
    say('addbadblock', '31');
    say('addbadblock', '7');
    expect(say('queryblock', '7')).toBe('dust_query_block: block 7 found in badblocklist');
    expect(say('queryblock', '8')).toBe('dust_query_block: block 8 not found in badblocklist');
    expect(say('listbadblocks')).toBe('7\n31');
    expect(say('removebadblock', '7')).toBe('');
    expect(say('countbadblocks')).toBe('countbadblocks: 1 badblock(s) found');
    expect(say('clearbadblocks')).toBe('dust_clear_badblocks: badblocks cleared');
    expect(say('clearbadblocks')).toBe('dust_clear_badblocks: no badblocks found');
  });

  it.each([
    [['addbadblock'], 'addbadblock takes one block number'],
    [['addbadblock', '32'], 'block 32: the blocks are 0 to 31'],
    [['addbadblock', '3k'], 'the block is "3k"'],
    [['addbadblock', '3', '256'], 'the writes to fail are 256, at most 255 can be'],
    [['addbadblock', '5'], 'block 5 already in badblocklist'],
    [['removebadblock', '6'], 'block 6 not found in badblocklist'],
    [['enable', 'now'], 'enable takes no argument, there are 1'],
    [['explode'], 'unknown message "explode" for dust, known are addbadblock'],
  ])('refuses %j', (words, message) => {
    const { say } = setUp(TABLE);
    say('addbadblock', '5');
    expect(() => say(...words)).toThrow(TableError);
    expect(() => say(...words)).toThrow(message);
  });
});
