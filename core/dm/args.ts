import { MAX_SECTORS } from '../base/units.ts';
import { TableError } from './target.ts';

/**
 * The words of a table line: whitespace separates, a backslash makes the next character part of the
 * word whatever it is.
 * @throws TableError a backslash that stands last has nothing to escape
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let i = 0; i < line.length; i += 1) {
    const character = line.charAt(i);
    if (character === '\\') {
      i += 1;
      if (i === line.length)
        throw new TableError('a backslash at the end of a line escapes nothing');
      word = (word ?? '') + line.charAt(i);
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

/**
 * The way back: a word as `splitWords` reads it. Whoever builds a table line from a path needs it.
 * @throws TableError an empty word and a line break cannot stand in a line
 */
export function escapeWord(word: string): string {
  if (word === '') throw new TableError('a device path is empty');
  if (/[\n\r]/.test(word)) {
    throw new TableError(`the path ${JSON.stringify(word)} has a line break, a table line cannot`);
  }
  return word.replace(/[\\\s]/g, '\\$&');
}

/**
 * A count or position in sectors. No sign, no trailing junk, nothing a double cannot hold in bytes.
 * @throws TableError naming `what`
 */
export function parseSectors(word: string, what: string): number {
  if (!/^\d+$/.test(word)) {
    throw new TableError(`${what} is ${JSON.stringify(word)}, a whole number of sectors is wanted`);
  }
  const sectors = Number(word);
  if (sectors > MAX_SECTORS) {
    throw new TableError(`${what} ${word} is past the last sector there can be, ${MAX_SECTORS}`);
  }
  return sectors;
}

/** A small count, such as the number of legs: the same strictness, other words. */
export function parseCount(word: string, what: string): number {
  if (!/^\d{1,9}$/.test(word)) {
    throw new TableError(`${what} is ${JSON.stringify(word)}, a whole number is wanted`);
  }
  return Number(word);
}
