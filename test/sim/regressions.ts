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
  { seed: 11, law: 'I5', bug: 'after a crash a read from leg A is not what leg B alone shows' },
  {
    seed: 504,
    law: 'I2',
    bug: 'the same seen by a client: a crash, a read, A leaves, an older read',
  },
  { seed: 636, law: 'I6', bug: 'the same: two reads after one crash, two values' },
  { seed: 1479, law: 'I6', bug: 'a second power cut shows what a read after the first ruled out' },
  { seed: 857, law: 'I4', bug: 'a value read and flushed after a power cut is on one leg only' },
  {
    seed: 263,
    law: 'I5',
    bug: 'a DISCARD that one leg did not support is read as done, then undone',
  },
  {
    seed: 564,
    law: 'I5',
    bug: 'WRITE_ZEROES one leg did not support is read as done, then undone',
  },
  { seed: 245, law: 'I10', bug: 'EIO for a range though each sector of it can be read from a leg' },
  {
    seed: 13,
    law: 'I4',
    bug: 'every member has failed a flush and lost what it shows, and the next flush goes well',
  },
  { seed: 258, law: 'I4', bug: 'the same, and legs were made equal to one that does not keep it' },
  { seed: 780, law: 'I4', bug: 'the same, on the only member' },
  { seed: 21, law: 'I8', bug: 'two legs with bad sectors in one region are never healed' },
  {
    seed: 2004323,
    law: 'I5',
    bug: 'a record that says clean fails and is durable all the same; writes go out behind it',
  },
];

/** The same with the native log; `legs`: while legs come and go; `meta`: with faults in the metadata. */
export const NATIVE_REGRESSIONS: readonly (Regression & {
  readonly legs: boolean;
  readonly meta?: boolean;
})[] = [
  { seed: 1071, legs: false, law: 'liveness', bug: 'the cleaner flushes for ever what it cannot' },
  {
    seed: 540,
    legs: false,
    meta: true,
    law: 'D3',
    bug: 'data goes out on a mark that a leg which is leaving, and may be believed, has not',
  },
  {
    seed: 5,
    legs: false,
    meta: true,
    law: 'I10',
    bug: 'the second attempt at a superblock reached no member, the first did: refused',
  },
  {
    seed: 305,
    legs: false,
    meta: true,
    law: 'liveness',
    bug: 'the cleaner flushes at each turn while a map write is stuck',
  },
  {
    seed: 264,
    legs: false,
    law: 'I4',
    bug: 'every member has failed a flush and lost what it shows, and the next flush goes well',
  },
  {
    seed: 498,
    legs: false,
    law: 'I9',
    bug: 'what a write with FUA lost on the last member waits for some other reason to heal',
  },
  {
    seed: 694,
    legs: false,
    law: 'I18',
    bug: 'the look at late requests arms a second timer, and forgets the first',
  },
  {
    seed: 1211,
    legs: false,
    law: 'I10',
    bug: 'both superblocks of the only member lost at a power cut',
  },
  { seed: 141, legs: true, law: 'I10', bug: 'a leg whose adding was cut short is a split brain' },
  {
    seed: 1346,
    legs: true,
    law: 'I10',
    bug: 'a superblock nothing ever stood on is a split brain',
  },
  {
    seed: 1967,
    legs: true,
    law: 'I8',
    bug: 'a leg being removed loses its lack bits before that is durable',
  },
  { seed: 2164, legs: true, law: 'I10', bug: 'a leg removed while it was away is a split brain' },
  {
    seed: 5001738,
    legs: true,
    meta: true,
    law: 'D3',
    bug: 'what was prepared for a leg before it was added again makes a member of it after',
  },
  {
    seed: 5001140,
    legs: true,
    meta: true,
    law: 'I4',
    bug: 'a flush goes well on a leg whose failed FUA the set has yet to hear of',
  },
  {
    seed: 5001251,
    legs: true,
    law: 'I10',
    bug: 'a member that does not know WRITE_ZEROES counts as one that failed to make it durable',
  },
  {
    seed: 6000087,
    legs: true,
    meta: true,
    law: 'I10',
    bug: 'a flush beside a FUA that failed is taken for proof that what was found is durable',
  },
  {
    seed: 5000438,
    legs: false,
    law: 'liveness',
    bug: 'the cleaner flushes, and fails, while what was lost is written once more, and spoils that',
  },
  {
    seed: 45000816,
    legs: false,
    law: 'D8',
    bug: 'a client that hears "not supported" of a WRITE_ZEROES with FUA counts as told of a loss',
  },
  {
    seed: 45000014,
    legs: false,
    law: 'I10',
    bug: 'a client is taken for told when its write has failed, and has not heard: a loss in between tells it twice',
  },
  {
    seed: 30028737,
    legs: true,
    law: 'legs',
    bug: 'a superblock counts as durable on who became a member after it was written',
  },
  {
    seed: 30054963,
    legs: true,
    law: 'I9',
    bug: 'an attempt that came to a removed leg alone, and names a removed member, is a split brain',
  },
  {
    seed: 7000148,
    legs: true,
    meta: true,
    law: 'I10',
    bug: 'the same with the first superblock of a run',
  },
  {
    seed: 30028485,
    legs: true,
    meta: true,
    law: 'I9',
    bug: 'a leg that is out by its own word, of a forgotten run of removed members, is a split brain',
  },
  {
    seed: 30103797,
    legs: false,
    meta: true,
    law: 'I10',
    bug: 'a leg that was put back, and away for 14 starts, is a split brain',
  },
];

/** The same with legs behind a network. */
export const REMOTE_REGRESSIONS: readonly Regression[] = [
  {
    seed: 693,
    law: 'I10',
    bug: 'a leg is given up on and ends before the record is durable: its READ is not asked again',
  },
  {
    seed: 580,
    law: 'I2',
    bug: 'a leg that has failed a FLUSH is read while the FLUSH goes on at another leg',
  },
  {
    seed: 5000552,
    law: 'I2',
    bug: 'a server loses what an earlier daemon had written, and is back as if nothing had been cached',
  },
  {
    seed: 5000751,
    law: 'D8',
    bug: 'a client is told of a loss by a write that ends after a FLUSH of its own went well',
  },
  {
    seed: 45000729,
    law: 'liveness',
    bug: 'the last member cannot keep a region that only it can read: it is copied again at once, for ever',
  },
];

/** Legs that become shorter, and as long as before. */
export const CUT_REGRESSIONS: readonly Regression[] = [
  {
    seed: 30003106,
    law: 'I8',
    bug: 'a leg that is told to be out before its write ends with ENXIO is filled by a delta',
  },
  { seed: 30015289, law: 'I8', bug: 'the same, and nothing was marked as lacking' },
  {
    seed: 84,
    law: 'I8',
    bug: 'a leg that has become shorter, as a write has found, is filled by what it has missed alone',
  },
];

/** Seeds of clients over connections. */
export const CLIENT_REGRESSIONS: readonly Regression[] = [
  {
    seed: 30123700,
    law: 'I4',
    bug: 'a leg that was put back to a day when it was being filled lacks what is dirty alone',
  },
  {
    seed: 30137110,
    law: 'I10',
    bug: 'a life whose first superblock did not come to all legs is a side of a split brain',
  },
];

/** Seeds of clients over connections beside a stuck leg (clients/options.ts, drawStuckClientOptions). */
export const STUCK_CLIENT_REGRESSIONS: readonly Regression[] = [
  {
    seed: 25,
    law: 'liveness',
    bug: 'a READ of more than half of the arena, given up on at a stuck leg, waits for ever for memory that it keeps from coming back itself',
  },
];
