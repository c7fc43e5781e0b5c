// When a leg that is out is tried again, and when no more.
import { setTimeout as sleep } from 'node:timers/promises';

import { SILENT_LOG } from '../../../core/base/ports.ts';
import { ControlError } from '../../../core/control/error.ts';
import type { LegStatus } from '../../../core/control/status.ts';
import type { LegChanges } from '../../../daemon/devices/leg-changes.ts';
import { LegReturn } from '../../../daemon/devices/leg-return.ts';
import type { Runner } from '../../../daemon/devices/runner.ts';

const OUT: LegStatus = {
  index: 1,
  // It is there: this very program.
  leg: process.execPath,
  state: 'failed',
  errors: { read: 0, write: 1, flush: 0, resync: 0 },
  outOfSyncBytes: 4096,
  writeMostly: false,
  failedByHand: false,
  replaces: null,
  note: null,
  reason: 'write error: EIO',
};

/** Lives for `ms` with one leg as given; every try is refused. */
async function live(
  leg: LegStatus,
  ms: number,
  isAutomatic = true,
): Promise<{ tries: number; note: string | null }> {
  let tries = 0;
  const runner = {
    call: () => Promise.resolve({ legs: [leg] }),
    settle: () => Promise.resolve(0),
  } as unknown as Runner;
  const changes = {
    readd: () => {
      tries += 1;
      return Promise.reject(new ControlError('bad-leg', 'it does not fit'));
    },
  } as unknown as LegChanges;
  const policy = { isAutomatic, delayMs: 2 };
  const legReturn = new LegReturn('data', runner, changes, policy, SILENT_LOG);
  legReturn.wake();
  await sleep(ms);
  legReturn.stop();
  return { tries, note: legReturn.noteOf(leg) };
}

describe('a leg that is out', () => {
  it('is tried again, later each time, and then stays out with the reason', async () => {
    const { tries, note } = await live(OUT, 4000);
    expect(tries).toBe(8);
    expect(note).toMatch(/^stays out after 8 tries, .*it does not fit; dmio leg re-add data /);
  });

  it('is tried at first after the delay, and the note says when next', async () => {
    const { tries, note } = await live(OUT, 250);
    expect(tries).toBeGreaterThan(0);
    expect(tries).toBeLessThan(8);
    expect(note).toMatch(/^next try in \d+ s after \d, the last was refused: it does not fit$/);
  });

  it.each<[string, LegStatus, boolean]>([
    ['it was failed by hand', { ...OUT, failedByHand: true }, true],
    ['its file is not there', { ...OUT, leg: '/nowhere/at/all', state: 'missing' }, true],
    ['it is in', { ...OUT, state: 'resyncing' }, true],
    ['the operator has said so', OUT, false],
  ])('is not tried when %s', async (_, leg, isAutomatic) => {
    expect((await live(leg, 400, isAutomatic)).tries).toBe(0);
  });
});
