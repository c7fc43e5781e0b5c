import { statfsSync } from 'node:fs';
import { release } from 'node:os';

import { FolioSplitter } from './folio-split.ts';

const EXT4_MAGIC = 0xef53;
/** The first kernel whose ext4 keeps files in large folios. */
const FIRST_MAJOR = 6;
const FIRST_MINOR = 16;

/** Null: the file is not kept in such folios, as far as we can tell. */
export function folioSplitterFor(fd: number, fileBytes: number): FolioSplitter | null {
  return keepsLargeFolios(release()) && isOnExt4(fd) ? new FolioSplitter(fd, fileBytes) : null;
}

/** `kernel`: as uname -r tells it. */
export function keepsLargeFolios(kernel: string): boolean {
  const found = /^(\d+)\.(\d+)/.exec(kernel);
  const major = Number(found?.[1] ?? 0);
  const minor = Number(found?.[2] ?? 0);
  return major > FIRST_MAJOR || (major === FIRST_MAJOR && minor >= FIRST_MINOR);
}

function isOnExt4(fd: number): boolean {
  try {
    return statfsSync(`/proc/self/fd/${fd}`).type === EXT4_MAGIC;
  } catch {
    // Without /proc nobody says. It is only about speed.
    return false;
  }
}
