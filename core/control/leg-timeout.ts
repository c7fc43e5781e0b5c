/** After how long a leg is given up on, in words: `30`, or `LEG=120` for one leg; 0 is never. */

const MAX_SECONDS = 86_400;

/** What each word may be, for error messages. */
export const LEG_TIMEOUT_FORMAT = 'SECONDS or LEG=SECONDS, 0.1 to 86400, or 0 for never';

interface LegTimeoutWord {
  /** Undefined: all legs that have no word of their own. */
  readonly leg: string | undefined;
  readonly ms: number;
}

/** Undefined when it is none. A leg's name may hold `=`: the last one counts. */
export function parseLegTimeoutWord(word: string): LegTimeoutWord | undefined {
  const at = word.lastIndexOf('=');
  const digits = word.slice(at + 1);
  if (at === 0 || !/^\d{1,5}(?:\.\d{1,3})?$/.test(digits)) return undefined;
  const seconds = Number(digits);
  if (seconds > MAX_SECONDS || (seconds > 0 && seconds < 0.1)) return undefined;
  return { leg: at < 0 ? undefined : word.slice(0, at), ms: Math.round(seconds * 1000) };
}

/** The word with another name of its leg: an absolute one. */
export function mapLegTimeoutWord(word: string, nameOf: (leg: string) => string): string {
  const parsed = parseLegTimeoutWord(word);
  return parsed?.leg === undefined ? word : `${nameOf(parsed.leg)}=${parsed.ms / 1000}`;
}

/** What is wrong with the words for a mirror of these legs; undefined: nothing. */
export function legTimeoutError(
  words: readonly string[],
  legs: readonly string[],
): string | undefined {
  const seen = new Set<string | undefined>();
  for (const word of words) {
    const parsed = parseLegTimeoutWord(word);
    if (parsed === undefined) {
      return `leg time-out ${JSON.stringify(word)}: expected ${LEG_TIMEOUT_FORMAT}`;
    }
    const { leg } = parsed;
    if (leg !== undefined && !legs.includes(leg)) {
      return `leg time-out ${word}: the device has no leg ${leg}`;
    }
    if (seen.has(leg)) return `leg time-out ${word}: said twice, of ${leg ?? 'all legs'}`;
    seen.add(leg);
  }
  return undefined;
}

/** Milliseconds of a leg, also of one that comes later; undefined: nothing is said. */
export function legTimeoutMs(words: readonly string[], leg: string): number | undefined {
  const parsed = words.map(parseLegTimeoutWord);
  const own = parsed.find((word) => word?.leg === leg);
  return (own ?? parsed.find((word) => word !== undefined && word.leg === undefined))?.ms;
}
