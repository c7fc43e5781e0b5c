import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf } from './system-error.ts';

/**
 * `mkdir -p`. Node's own `recursive` never ends where a parent exists but takes no folders (/proc).
 * Throws as Node does.
 */
export function makeFolder(path: string, mode = 0o755): void {
  try {
    mkdirSync(path, mode);
  } catch (error) {
    const parent = dirname(path);
    if (codeOf(error) === 'EEXIST') {
      if (statSync(path).isDirectory()) return;
      throw Object.assign(new Error(`${path} is not a directory`), { code: 'ENOTDIR' });
    }
    if (codeOf(error) !== 'ENOENT' || parent === path) throw error;
    makeFolder(parent, mode);
    mkdirSync(path, mode);
  }
}
