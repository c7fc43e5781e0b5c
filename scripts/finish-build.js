// What `tsc -b` does not do: mark the two commands executable, and remove from dist/ what was compiled
// from a source that is gone (a deleted test would otherwise run for ever).
import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');

for (const bin of ['cli/main.js', 'daemon/main.js']) {
  const path = join(dist, bin);
  if (existsSync(path)) chmodSync(path, 0o755);
}

for (const entry of existsSync(dist) ? readdirSync(dist, { recursive: true }) : []) {
  const emitted = /^(.*)\.(?:d\.ts|js|js\.map)$/.exec(entry);
  if (emitted !== null && !existsSync(join(root, `${emitted[1]}.ts`))) {
    const path = join(dist, entry);
    rmSync(path);
    console.log(`removed ${relative(root, path)}: its source is gone`);
  }
}
