import { delayTargetType } from './target-delay.ts';
import { dustTargetType } from './target-dust.ts';
import { errorTargetType } from './target-error.ts';
import { flakeyTargetType } from './target-flakey.ts';
import { linearTargetType } from './target-linear.ts';
import { stripedTargetType } from './target-striped.ts';
import type { TargetType } from './target.ts';
import { zeroTargetType } from './target-zero.ts';

/** Every kind of target a table line may name. */
export const targetTypes: readonly TargetType[] = [
  delayTargetType,
  dustTargetType,
  errorTargetType,
  flakeyTargetType,
  linearTargetType,
  stripedTargetType,
  zeroTargetType,
];
