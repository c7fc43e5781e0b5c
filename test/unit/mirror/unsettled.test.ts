// A leg that has failed to flush while the others are still at it: what it says meanwhile is not believed.
import { ERRNO } from '../../../core/base/errno.ts';
import { SILENT_LOG, type Clock } from '../../../core/base/ports.ts';
import { Bio } from '../../../core/block/bio.ts';
import { REQ_FLAG, REQ_OP, type ReqOp } from '../../../core/block/op.ts';
import { STANDING } from '../../../core/mirror/leg.ts';
import { NoRecorder } from '../../../core/mirror/record.ts';
import { MirrorSet } from '../../../core/mirror/set.ts';
import { at } from '../../sim/at.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';
import { MemoryDevice } from '../../support/memory-device.ts';

const STILL: Clock = { nowMs: () => 0, after: () => ({ cancel: () => undefined }) };

/** Leg a has failed a FLUSH of the set, and shows what it held long ago; leg b still flushes. */
function makeWorld() {
  const loop = createManualLoop();
  const a = new MemoryDevice({ loop, sectors: 128, name: 'a' });
  const b = new MemoryDevice({ loop, sectors: 128, name: 'b' });
  const set = new MirrorSet({
    name: 'm',
    loop,
    clock: STILL,
    log: SILENT_LOG,
    recorder: new NoRecorder(loop),
    sectors: 128,
    regionSectors: 64,
    legs: [a, b].map((device) => ({
      name: device.name,
      startSector: 0,
      device,
      standing: STANDING.MEMBER,
    })),
    generation: 0,
    membersEqual: true,
    readPolicy: { kind: 'prefer', leg: 0 },
  });
  set.start();
  runUntilIdle(loop);
  const submit = (op: ReqOp, flags = 0) => {
    const bio = new Bio();
    const state = { errno: undefined as number | undefined, bio };
    bio.op = op;
    bio.flags = flags;
    bio.sectors = op === REQ_OP.FLUSH ? 0 : 1;
    bio.setBuffer(new Uint8Array(512).fill(7), 0, op === REQ_OP.FLUSH ? 0 : 512);
    bio.owner = { endIo: () => (state.errno = bio.error) };
    set.map(bio);
    runUntilIdle(loop);
    return state;
  };
  expect(submit(REQ_OP.WRITE).errno).toBe(0);
  a.fault = (bio) => (bio.op === REQ_OP.FLUSH ? ERRNO.ENOTCONN : 0);
  b.hold();
  const flush = submit(REQ_OP.FLUSH);
  a.bytes.fill(1);
  a.fault = () => 0;
  return { loop, a, b, set, submit, flush };
}

const standings = (set: MirrorSet): readonly string[] => set.legs.map(({ standing }) => standing);

describe('a leg that has failed a FLUSH which goes on at another leg', () => {
  it('is not read', () => {
    const { loop, a, b, set, submit, flush } = makeWorld();
    a.seen = [];
    const read = submit(REQ_OP.READ);
    expect([flush.errno, read.errno, a.seen]).toEqual([undefined, undefined, []]);
    b.release();
    runUntilIdle(loop);
    expect([flush.errno, read.errno, read.bio.vecs[0]?.page[0]]).toEqual([0, 0, 7]);
    expect(standings(set)).toEqual(['failed', 'member']);
  });

  it('is not believed where it has to be read: its answer waits, and another leg is asked', () => {
    const { loop, b, set, submit } = makeWorld();
    // Leg b lacks the region: but for its own word a is the only one to have it.
    set.legs[1]?.outOfSync.setRange(0, 0);
    const read = submit(REQ_OP.READ);
    expect(read.errno).toBeUndefined();
    set.legs[1]?.outOfSync.clearAll();
    b.release();
    runUntilIdle(loop);
    expect([read.errno, read.bio.vecs[0]?.page[0]]).toEqual([0, 7]);
    expect(standings(set)).toEqual(['failed', 'member']);
  });

  it('is read when it turns out to be the last one', () => {
    const { loop, b, set, submit, flush } = makeWorld();
    set.legs[1]?.outOfSync.setRange(0, 0);
    const read = submit(REQ_OP.READ);
    set.legs[1]?.outOfSync.clearAll();
    expect(set.expel(at(set.legs, 1), 'for the test')).toBe(true);
    b.release();
    runUntilIdle(loop);
    expect([flush.errno, read.errno, read.bio.vecs[0]?.page[0]]).toEqual([ERRNO.ENOTCONN, 0, 1]);
    expect(standings(set)).toEqual(['member', 'failed']);
  });

  it('has failed a write with FUA that it answers well', () => {
    const { loop, a, b, set, submit } = makeWorld();
    a.seen = [];
    const write = submit(REQ_OP.WRITE, REQ_FLAG.FUA);
    expect([write.errno, a.seen.length]).toEqual([undefined, 1]);
    expect(b.heldCount).toBe(2);
    b.release();
    runUntilIdle(loop);
    expect([write.errno, set.legs[0]?.errors.write]).toEqual([0, 1]);
    expect(standings(set)).toEqual(['failed', 'member']);
  });
});

it('a write with FUA that was under way when every leg failed a flush is not durable', () => {
  const { loop, a, b, set, submit, flush } = makeWorld();
  a.hold();
  const write = submit(REQ_OP.WRITE, REQ_FLAG.FUA);
  expect(b.heldCount).toBe(2);
  // Leg b leaves, so the FLUSH has failed on all that are left; the write goes well on leg a.
  expect(set.expel(at(set.legs, 1), 'for the test')).toBe(true);
  b.release();
  runUntilIdle(loop);
  expect(flush.errno).toBe(ERRNO.ENOTCONN);
  a.release();
  runUntilIdle(loop);
  expect(write.errno).not.toBe(0);
});
