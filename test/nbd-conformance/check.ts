import type { Place } from './client.ts';

export interface Check {
  readonly level: 'MUST' | 'SHOULD';
  /** Of doc/proto.md. */
  readonly section: string;
  /** What a server that conforms does. */
  readonly text: string;
  /** Throws Breach, or NotOffered. */
  run(place: Place): Promise<void>;
}

type Run = (place: Place) => Promise<void>;

export const must = (section: string, text: string, run: Run): Check => {
  return { level: 'MUST', section, text, run };
};
export const should = (section: string, text: string, run: Run): Check => {
  return { level: 'SHOULD', section, text, run };
};
