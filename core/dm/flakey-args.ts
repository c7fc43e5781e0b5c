import { escapeWord, parseCount, parseSectors } from './args.ts';
import { TableError } from './target.ts';

/** Probabilities are in billionths. */
export const PROBABILITY_BASE = 1_000_000_000;
const FEATURES =
  'drop_writes, error_writes, error_reads, corrupt_bio_byte N r|w VALUE FLAGS, ' +
  'random_read_corrupt P, random_write_corrupt P';

/** `corrupt_bio_byte N r|w VALUE FLAGS`. */
interface CorruptByte {
  /** Counted from 1, from the bio's first byte. */
  readonly nth: number;
  readonly direction: 'r' | 'w';
  readonly value: number;
  /** Bits of the kernel's bi_opf that a bio must carry; bios here carry none of them. */
  readonly flags: number;
}

/** What a flakey line says. */
export interface FlakeyArgs {
  readonly path: string;
  readonly startSector: number;
  readonly upSeconds: number;
  readonly downSeconds: number;
  readonly errorReads: boolean;
  readonly dropWrites: boolean;
  readonly errorWrites: boolean;
  readonly corruptByte: CorruptByte | null;
  /** 0: off. */
  readonly randomReadCorrupt: number;
  readonly randomWriteCorrupt: number;
}

/**
 * Reads `DEV OFFSET UP DOWN [#FEATURE_ARGS FEATURE_ARG...]`.
 * @throws TableError
 */
export function parseFlakey(words: readonly string[]): FlakeyArgs {
  const [path, offset, up, down, countWord, ...features] = words;
  if (path === undefined || offset === undefined || up === undefined || down === undefined) {
    throw new TableError(
      `flakey takes DEV OFFSET UP DOWN [#FEATURE_ARGS FEATURE_ARG...], there are ${words.length}`,
    );
  }
  const startSector = parseSectors(offset, `the offset on ${path}`);
  const upSeconds = parseCount(up, 'the up interval in seconds');
  const downSeconds = parseCount(down, 'the down interval in seconds');
  if (upSeconds + downSeconds === 0) {
    throw new TableError('the up and down intervals are both 0, their sum must not be');
  }
  const count = countWord === undefined ? 0 : parseCount(countWord, 'the number of feature words');
  if (count !== features.length) {
    throw new TableError(
      `the number of feature words is ${count}, but ${features.length} words follow`,
    );
  }
  return withDefault({ path, startSector, upSeconds, downSeconds, ...parseFeatures(features) });
}

/** The way back; features in the kernel's order. */
export function formatFlakey(args: FlakeyArgs): string {
  const { corruptByte } = args;
  const features = [
    ...(args.errorReads ? ['error_reads'] : []),
    ...(args.dropWrites ? ['drop_writes'] : []),
    ...(args.errorWrites ? ['error_writes'] : []),
    ...(corruptByte === null
      ? []
      : [
          'corrupt_bio_byte',
          corruptByte.nth,
          corruptByte.direction,
          corruptByte.value,
          corruptByte.flags,
        ]),
    ...(args.randomReadCorrupt > 0 ? ['random_read_corrupt', args.randomReadCorrupt] : []),
    ...(args.randomWriteCorrupt > 0 ? ['random_write_corrupt', args.randomWriteCorrupt] : []),
  ];
  const { startSector, upSeconds, downSeconds } = args;
  const head = [escapeWord(args.path), startSector, upSeconds, downSeconds];
  return [...head, features.length, ...features].join(' ');
}

type Features = Pick<
  FlakeyArgs,
  | 'errorReads'
  | 'dropWrites'
  | 'errorWrites'
  | 'corruptByte'
  | 'randomReadCorrupt'
  | 'randomWriteCorrupt'
>;

/** Without any feature everything fails while it is down. */
function withDefault(args: FlakeyArgs): FlakeyArgs {
  const { errorReads, dropWrites, errorWrites, corruptByte } = args;
  const isRandom = args.randomReadCorrupt > 0 || args.randomWriteCorrupt > 0;
  if (errorReads || dropWrites || errorWrites || corruptByte !== null || isRandom) return args;
  return { ...args, errorReads: true, errorWrites: true };
}

function parseFeatures(words: readonly string[]): Features {
  const rest = [...words];
  const seen = new Set<string>();
  let corruptByte: CorruptByte | null = null;
  const random = { random_read_corrupt: 0, random_write_corrupt: 0 };
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (seen.has(name)) throw new TableError(`the flakey feature ${name} is given twice`);
    seen.add(name);
    switch (name) {
      case 'error_reads':
      case 'drop_writes':
      case 'error_writes':
        break;
      case 'corrupt_bio_byte':
        corruptByte = parseCorruptByte(rest.splice(0, 4));
        break;
      case 'random_read_corrupt':
      case 'random_write_corrupt':
        random[name] = parseProbability(name, rest.shift());
        break;
      default:
        throw new TableError(`unknown flakey feature ${JSON.stringify(name)}, known: ${FEATURES}`);
    }
  }
  refuseContradictions(seen, corruptByte);
  return {
    errorReads: seen.has('error_reads'),
    dropWrites: seen.has('drop_writes'),
    errorWrites: seen.has('error_writes'),
    corruptByte,
    randomReadCorrupt: random.random_read_corrupt,
    randomWriteCorrupt: random.random_write_corrupt,
  };
}

function refuseContradictions(seen: ReadonlySet<string>, corruptByte: CorruptByte | null): void {
  const lost = ['drop_writes', 'error_writes'].filter((name) => seen.has(name));
  if (lost.length > 1) throw new TableError('drop_writes and error_writes exclude each other');
  if (lost[0] === undefined) return;
  if (corruptByte?.direction === 'w') {
    throw new TableError(`${lost[0]} and corrupt_bio_byte of writes exclude each other`);
  }
  if (seen.has('random_write_corrupt')) {
    throw new TableError(`${lost[0]} and random_write_corrupt exclude each other`);
  }
}

function parseCorruptByte(words: readonly string[]): CorruptByte {
  const [nthWord, direction, valueWord, flagsWord] = words;
  if (flagsWord === undefined || nthWord === undefined || valueWord === undefined) {
    throw new TableError(`corrupt_bio_byte takes 4 words, N r|w VALUE FLAGS, not ${words.length}`);
  }
  const nth = parseCount(nthWord, 'the byte of corrupt_bio_byte');
  if (nth === 0) throw new TableError('the byte of corrupt_bio_byte is 0, they count from 1');
  if (direction !== 'r' && direction !== 'w') {
    throw new TableError(
      `the direction of corrupt_bio_byte is ${JSON.stringify(direction)}, r or w is wanted`,
    );
  }
  const value = parseCount(valueWord, 'the value of corrupt_bio_byte');
  if (value > 255) throw new TableError(`the value of corrupt_bio_byte is ${value}, at most 255`);
  const flags = parseSectors(flagsWord, 'the flags of corrupt_bio_byte');
  return { nth, direction, value, flags };
}

function parseProbability(name: string, word: string | undefined): number {
  if (word === undefined) throw new TableError(`${name} takes a probability`);
  const billionths = /^\d{1,10}$/.test(word) ? Number(word) : NaN;
  if (!(billionths <= PROBABILITY_BASE)) {
    throw new TableError(`${name} is ${JSON.stringify(word)}, 0 to ${PROBABILITY_BASE} is wanted`);
  }
  return billionths;
}
