import { errorTargetType } from './target-error.ts';
import { linearTargetType } from './target-linear.ts';
import type { TargetType } from './target.ts';
import { zeroTargetType } from './target-zero.ts';

/** Every kind of target a table line may name. */
export const targetTypes: readonly TargetType[] = [
  errorTargetType,
  linearTargetType,
  zeroTargetType,
];
