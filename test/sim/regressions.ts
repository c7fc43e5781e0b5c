/** A bug the simulator found in core: the seed that showed it, and what it was. */
export interface Regression {
  readonly seed: number;
  readonly law: string;
  readonly bug: string;
}

/**
 * Seeds that failed once. They mean what they meant only as long as the draws of options.ts stay
 * what they are; a change there looks for new seeds on the commit before the fix.
 */
export const REGRESSIONS: readonly Regression[] = [
  { seed: 15, law: 'I5', bug: 'after a crash a read from leg A is not what leg B alone shows' },
  { seed: 14, law: 'I4', bug: 'a value read and flushed after a power cut is on one leg only' },
  { seed: 79, law: 'I3', bug: 'a second power cut shows another value than was read after the first' },
  { seed: 54, law: 'I5', bug: 'a DISCARD that one leg did not support is read as done, then undone' },
  { seed: 564, law: 'I5', bug: 'WRITE_ZEROES one leg did not support is read as done, then undone' },
  { seed: 245, law: 'I10', bug: 'EIO for a range though each sector of it can be read from a leg' },
  { seed: 102, law: 'I8', bug: 'two legs with bad sectors in one region are never healed' },
  { seed: 210, law: 'I9', bug: 'the same under load: a region that no one leg can read as a whole' },
];
