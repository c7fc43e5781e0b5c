/** How a leg's data goes through the page cache, in words: `none`, or `LEG=none` for one leg. */

/** `none` is O_DIRECT: an acknowledged write is with the disk. `writeback` is the page cache. */
export const CACHE_MODES = ['none', 'writeback'] as const;
export type CacheMode = (typeof CACHE_MODES)[number];

/** What each word may be, for error messages. */
export const CACHE_FORMAT = 'none, writeback, LEG=none or LEG=writeback';

export interface CacheWord {
  /** Undefined: all legs that have no word of their own. */
  readonly leg: string | undefined;
  readonly mode: CacheMode;
}

/** Undefined when it is none. A leg's name may hold `=`: the last one counts. */
export function parseCacheWord(word: string): CacheWord | undefined {
  const at = word.lastIndexOf('=');
  const mode = CACHE_MODES.find((one) => one === word.slice(at + 1));
  if (mode === undefined || at === 0) return undefined;
  return { leg: at < 0 ? undefined : word.slice(0, at), mode };
}

/** The word with another name of its leg: an absolute one. */
export function mapCacheWord(word: string, nameOf: (leg: string) => string): string {
  const parsed = parseCacheWord(word);
  return parsed?.leg === undefined ? word : `${nameOf(parsed.leg)}=${parsed.mode}`;
}

/**
 * What the words say about each of `legs`; a leg of which nothing is said is left out. Or in words
 * what is wrong with them.
 */
export function cacheModes(
  words: readonly string[],
  legs: readonly string[],
): Readonly<Record<string, CacheMode>> | string {
  const modes = new Map<string, CacheMode>();
  let others: CacheMode | undefined;
  for (const word of words) {
    const parsed = parseCacheWord(word);
    if (parsed === undefined) return `cache ${JSON.stringify(word)}: expected ${CACHE_FORMAT}`;
    const { leg, mode } = parsed;
    if (leg === undefined) {
      if (others !== undefined) return `cache ${word}: said twice, of all legs`;
      others = mode;
      continue;
    }
    if (!legs.includes(leg)) return `cache ${word}: the device has no leg ${leg}`;
    if (modes.has(leg)) return `cache ${word}: said twice, of one leg`;
    modes.set(leg, mode);
  }
  const all = legs.map((leg) => [leg, modes.get(leg) ?? others] as const);
  return Object.fromEntries(all.filter((one): one is [string, CacheMode] => one[1] !== undefined));
}
