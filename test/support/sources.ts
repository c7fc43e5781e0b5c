// The files of the repository as the repo's own rules read them: tidy.test.ts and layers.test.ts.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from './root.ts';

export interface SourceFile {
  /** From the root, with forward slashes: `core/base/assert.ts`. */
  readonly path: string;
  readonly text: string;
}

const GENERATED = new Set(['node_modules', 'dist', 'var', 'coverage']);

/** Every file under the root whose name ends so, generated and hidden folders left out. */
export function sourcesEndingIn(suffix: string): readonly SourceFile[] {
  const found: SourceFile[] = [];
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!GENERATED.has(entry.name) && !entry.name.startsWith('.')) walk(path);
      } else if (entry.name.endsWith(suffix)) {
        found.push({ path, text: readFileSync(join(ROOT, path), 'utf8') });
      }
    }
  };
  walk('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}
