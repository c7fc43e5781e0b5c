import type { Tally } from './finding.ts';
import { playClient } from './client-story.ts';
import { playServer } from './server-story.ts';

export const ENDS = ['server', 'client'] as const;
export type End = (typeof ENDS)[number];

const PLAYS: Readonly<Record<End, (seed: number, tally: Tally) => void>> = {
  server: playServer,
  client: playClient,
};

/** What a seed's story found; null: nothing. Any exception is a finding. */
export function playSeed(end: End, seed: number, tally: Tally): Error | null {
  try {
    PLAYS[end](seed, tally);
    return null;
  } catch (error) {
    return error as Error;
  }
}
