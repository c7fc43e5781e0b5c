import { SimFailure } from '../failure.ts';
import type { World } from '../world.ts';
import type { Checker } from './checker.ts';

export const splitBrain: Checker = {
  name: 'I11',
  sentence: 'two parts of a set that were started apart and written apart are never merged',
};

/** A part of the set that lived alone, and the writes its client was told of; -1: it was refused. */
export interface Side {
  readonly legs: readonly number[];
  readonly acknowledged: number;
}

/** All legs are together again: what would a start decide? */
export function checkApart(world: World, first: Side, second: Side): void {
  const { native } = world;
  if (native === null) return;
  const assembly = native.decide(world.disks.map((_, i) => i));
  const isApart = first.acknowledged > 0 && second.acknowledged > 0;
  if (isApart && assembly.kind === 'assembled') {
    const rules = `leg ${assembly.rulerInput} rules`;
    throw new SimFailure(
      splitBrain.name,
      `sides ${first.legs.join()} and ${second.legs.join()} merged: ${rules}`,
    );
  }
  if (isApart) {
    const { reason } = assembly as { reason: string };
    if (!reason.startsWith('split brain'))
      throw new SimFailure(splitBrain.name, `refused: ${reason}`);
    // The way out: either side alone.
    for (const side of [first, second]) {
      if (native.decide(side.legs).kind === 'assembled') continue;
      throw new SimFailure(splitBrain.name, `side ${side.legs.join()} alone is refused`);
    }
    return;
  }
  // Nobody was told anything on one side: then the other must be there to be had.
  const told = first.acknowledged > 0 ? first : second;
  if (told.acknowledged <= 0 || assembly.kind === 'refused') return;
  const members = assembly.mapInputs;
  if (!members.some((leg) => told.legs.includes(leg))) {
    throw new SimFailure(
      splitBrain.name,
      `the side that acknowledged, ${told.legs.join()}, is not believed`,
    );
  }
}
