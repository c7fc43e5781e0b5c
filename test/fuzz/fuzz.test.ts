// CI's share of the fuzzer, and the fuzzer itself: it gets everywhere, and it finds what is planted.
import { ENDS, playSeed, type End } from './ends.ts';
import { Tally } from './finding.ts';
import { hunt, MUTANTS } from './mutants.ts';
import { LIES } from './server-replies.ts';

/** Seeds of each end. A seed that has ever failed is one of them, or in FOUND. */
const SEEDS = 80;

/** What the fuzzer has found in core while it was built: the end, the seed of its first story. */
const FOUND: readonly (readonly [End, number])[] = [['client', 1]];

/** Places that a share must reach, or it proves nothing. */
const PLACES: Readonly<Record<End, readonly string[]>> = {
  server: [
    'ABORT',
    'TLS',
    'contexts',
    'refused in the handshake',
    'a request without its magic',
    'transmission, simple',
    'transmission, structured',
    'transmission, extended',
    'chunk OFFSET_DATA',
    'chunk OFFSET_HOLE',
    'chunk BLOCK_STATUS',
    'chunk BLOCK_STATUS_EXT',
    'chunk ERROR',
    'chunk ERROR_OFFSET',
    ...['OK', 'EPERM', 'EIO', 'EINVAL', 'ENOSPC', 'ENOTSUP', 'ESHUTDOWN'].map((e) => `reply ${e}`),
  ],
  client: [
    'transmission, simple',
    'transmission, structured',
    'closed',
    'refused',
    ...Object.keys(LIES).map((name) => `lie: ${name}`),
    ...['READ', 'WRITE', 'FLUSH', 'DISCARD', 'WRITE_ZEROES'].flatMap((op) => [
      `${op} well`,
      `${op} failed`,
    ]),
  ],
};

/** Plays seeds until nothing of `wanted` is missing; returns what is. */
function seek(end: End, wanted: readonly string[], tally: Tally): readonly string[] {
  for (let seed = SEEDS + 1; seed <= 10 * SEEDS; seed += 1) {
    if (wanted.every((place) => tally.places.has(place))) break;
    playSeed(end, seed, tally);
  }
  return wanted.filter((place) => !tally.places.has(place));
}

describe.each(ENDS)('the %s', (end) => {
  const tally = new Tally();

  it('survives any bytes', () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const failure = playSeed(end, seed, tally);
      if (failure !== null) throw new Error(`${end} seed ${seed}`, { cause: failure });
    }
    expect(tally.bytes).toBeGreaterThan(100_000);
  });

  it('was led everywhere', () => {
    expect(seek(end, PLACES[end], tally)).toEqual([]);
  });

  it.each(MUTANTS.filter((mutant) => mutant.end === end))('shows a planted bug: $bug', (mutant) => {
    expect(hunt(mutant, mutant.seed)?.says).toEqual(expect.any(String));
  });
});

it.each(FOUND)('%s seed %d stays fixed', (end, seed) => {
  expect(playSeed(end, seed, new Tally())).toBeNull();
});
