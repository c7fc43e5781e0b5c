// Copies that do not read what legs say is zero: files say so at once, servers when they are asked. A
// process of its own for each is not worth it: a few hundred seeds.
import type { TellsZeroes } from './disk.ts';
import { drawLegOptions, drawOptions } from './options.ts';
import { runSeed } from './run.ts';

const SEEDS = 120;

function failuresOf(tellsZeroes: TellsZeroes, count: number): readonly string[] {
  const failures: string[] = [];
  for (let seed = 1; seed <= count; seed += 1) {
    const drawn = seed % 2 === 0 ? drawOptions(seed) : drawLegOptions(seed);
    const { failure } = runSeed({ ...drawn, tellsZeroes });
    if (failure !== null) failures.push(`seed ${seed}: ${failure.message}`);
  }
  return failures;
}

describe('the mirror, simulated on legs that say what is zero', () => {
  it.each(['at once', 'when asked'] as const)('holds: %s', (tells) => {
    expect(failuresOf(tells, SEEDS)).toEqual([]);
  });

  it('would not hold if they lied', () => {
    expect(failuresOf('falsely', 20)).not.toEqual([]);
  });
});
