import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory of its own for one test file; short, since socket paths are. */
export function makeTempDir(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'dmiod-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
