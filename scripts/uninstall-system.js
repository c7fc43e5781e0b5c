// npm run uninstall:system (as root): takes back what install:system made. Configuration and state
// stay, unless --purge; the legs stay in any case.
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { layout, UNITS } from './system/stage.js';

const root = process.env.DESTDIR ?? '/';
if (root === '/' && process.getuid?.() !== 0) {
  console.error('uninstall:system needs root, or DESTDIR');
  process.exit(1);
}
const at = layout('/usr/local');
const isLive = root === '/' && existsSync('/run/systemd/system');
if (isLive) {
  const units = ['dmiod-attach@*.service', 'dmiod.socket', 'dmiod.service'];
  execFileSync('systemctl', ['stop', ...units], { stdio: 'inherit' });
  execFileSync('systemctl', ['disable', ...units.slice(1)], { stdio: 'ignore' });
}
const pages = ['man1/dmio.1', 'man5/dmiod.toml.5', 'man8/dmiod.8'].map(
  (page) => `${at.man}/${page}`,
);
const files = [
  ...['dmio', 'dmiod'].map((name) => `${at.bin}/${name}`),
  ...UNITS.map((unit) => `${at.units}/${unit}`),
  ...Object.values(at.completions),
  ...pages,
  at.lib,
  at.doc,
];
if (process.argv.includes('--purge')) files.push('etc/dmiod', 'var/lib/dmiod', 'run/dmiod');
for (const file of files) {
  rmSync(join(root, file), { recursive: true, force: true });
  console.log(`removed /${file}`);
}
if (isLive) execFileSync('systemctl', ['daemon-reload']);
