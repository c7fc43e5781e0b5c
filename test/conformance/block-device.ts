import { setTimeout as sleep } from 'node:timers/promises';

import { Prng } from '../../core/base/prng.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { Bench } from './bench.ts';
import { CHECKS } from './checks.ts';
import type { Check, Supports } from './checks.ts';

/** A device for one check. At least 64 logical blocks; small ones make the checks fast. */
interface DeviceUnderTest {
  readonly device: BlockDevice;
  /** Called when nothing is in flight any more. */
  close(): Promise<void> | void;
}

const CLOSE_LIMIT_MS = 5000;

/** Makes a fresh device for each check. The seed is for devices that are random themselves. */
export type DeviceFactory = (wanted: {
  readonly readOnly: boolean;
  readonly seed: number;
}) => Promise<DeviceUnderTest> | DeviceUnderTest;

/** A seed for this run: `TEST_SEED=123 npm run jest` repeats it. It is part of each test's name. */
export const SEED = Number(process.env['TEST_SEED'] ?? Date.now() % 1_000_000);

export function checksFor(supports: Supports): readonly Check[] {
  return CHECKS.filter(({ needs }) => {
    return needs === undefined || (supports[needs] !== false && supports[needs] !== undefined);
  });
}

/** Runs one check on one fresh device. Rejects with a Violation when the device breaks its word. */
export async function runCheck(
  check: Check,
  factory: DeviceFactory,
  supports: Supports,
  seed = SEED,
  deadlineMs?: number,
): Promise<void> {
  const made = await factory({ readOnly: check.onReadOnly === true, seed });
  const bench = new Bench(made.device, deadlineMs);
  try {
    await check.run(bench, new Prng(seed), supports);
  } finally {
    await closed(made, bench.pending === 0);
  }
}

/** One that still owes endings has failed already: it is closed as far as it can be, or Jest never ends. */
async function closed(made: DeviceUnderTest, isQuiet: boolean): Promise<void> {
  if (isQuiet) return made.close();
  const tried = Promise.resolve(made.close()).catch(() => undefined);
  await Promise.race([tried, sleep(CLOSE_LIMIT_MS, undefined, { ref: false })]);
}

/** The contract of core/block/device.ts as tests. Every BlockDevice passes this suite. */
export function suite(name: string, factory: DeviceFactory, supports: Supports): void {
  describe(`${name} is a block device (seed ${SEED})`, () => {
    for (const check of checksFor(supports)) {
      it(check.name, () => runCheck(check, factory, supports), 60_000);
    }
  });
}
