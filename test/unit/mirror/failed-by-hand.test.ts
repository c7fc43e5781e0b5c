// What an operator has taken out stays out over a crash: the very record that says that a leg is out
// must say by whom, for the next one may never be written.
import { SILENT_LOG, type Clock } from '../../../core/base/ports.ts';
import { MemoryDevice } from '../../../core/block/memory-device.ts';
import { failLeg, removeLeg } from '../../../core/mirror/leg-changes.ts';
import { STANDING } from '../../../core/mirror/leg.ts';
import type { MirrorRecord } from '../../../core/mirror/record.ts';
import { MirrorSet } from '../../../core/mirror/set.ts';
import { at } from '../../sim/at.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';

const STILL: Clock = { nowMs: () => 0, after: () => ({ cancel: () => undefined }) };

function makeSet(records: MirrorRecord[]) {
  const loop = createManualLoop();
  const set = new MirrorSet({
    name: 'm',
    loop,
    clock: STILL,
    log: SILENT_LOG,
    recorder: {
      record: (record, done) => {
        records.push(record);
        loop.defer({ complete: () => done(0) });
      },
    },
    sectors: 1024,
    regionSectors: 64,
    legs: ['a', 'b'].map((name) => {
      const device = new MemoryDevice(loop, 1024);
      return { name, startSector: 0, device, standing: STANDING.MEMBER };
    }),
    generation: 0,
    membersEqual: true,
    readPolicy: { kind: 'round-robin' },
  });
  set.start();
  runUntilIdle(loop);
  return { set, loop };
}

it.each([
  ['failed', failLeg],
  ['removed', removeLeg],
])('no record ever calls a leg that is %s by hand out for another reason', (_, change) => {
  const records: MirrorRecord[] = [];
  const { set, loop } = makeSet(records);
  const ends: number[] = [];
  expect(change(set, at(set.legs, 1), (errno) => ends.push(errno))).toBe(true);
  runUntilIdle(loop);
  expect(ends).toEqual([0]);
  const out = records.flatMap(({ legs }) => legs.filter(({ state }) => state === 'failed'));
  expect(out.length).toBeGreaterThan(0);
  expect(out.map(({ failedByHand }) => failedByHand)).toEqual(out.map(() => true));
});

it('a leg that may not be failed is not marked', () => {
  const { set, loop } = makeSet([]);
  expect(failLeg(set, at(set.legs, 0), () => undefined)).toBe(true);
  runUntilIdle(loop);
  expect(failLeg(set, at(set.legs, 1), () => undefined)).toBe(false);
  runUntilIdle(loop);
  expect(set.legs.map(({ failedByHand }) => failedByHand)).toEqual([true, false]);
});
