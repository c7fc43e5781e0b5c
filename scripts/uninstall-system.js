// npm run uninstall:system (as root): takes back what install:system made. Configuration and state
// stay, unless --purge; the legs stay in any case.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { layout, UNITS } from './system/stage.js';

const root = process.env.DESTDIR ?? '/';
if (root === '/' && process.getuid?.() !== 0) {
  console.error('uninstall:system needs root, or DESTDIR');
  process.exit(1);
}
const at = layout('/usr/local');
const isLive = root === '/' && existsSync('/run/systemd/system');
// A package's daemon, below /usr, is not ours to stop.
const isInstalled = existsSync(join(root, at.units, 'dmiod.service'));
if (isLive && isInstalled) {
  detachAll();
  const services = ['dmiod.socket', 'dmiod.service'];
  execFileSync('systemctl', ['stop', 'dmiod-attach@*.service', ...services], { stdio: 'inherit' });
  const disable = ['disable', ...services, ...enabledAttachments()];
  execFileSync('systemctl', disable, { stdio: 'ignore' });
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
if (isLive) {
  execFileSync('systemctl', ['daemon-reload']);
  // The attach units had nothing to detach any more, and say so by failing.
  if (isInstalled) execFileSync('systemctl', ['reset-failed', 'dmiod*']);
}

/** What is in use is not taken away from its users: nothing is uninstalled then. */
function detachAll() {
  const dmio = join(root, at.bin, 'dmio');
  const asked = spawnSync(dmio, ['--json', 'attached'], { encoding: 'utf8' });
  // 3: no daemon.
  if (asked.status !== 0) return;
  for (const { device } of JSON.parse(asked.stdout).attached) {
    if (spawnSync(dmio, ['detach', device], { stdio: 'inherit' }).status === 0) continue;
    console.error(`uninstall:system: ${device} is still attached; nothing has been removed`);
    process.exit(1);
  }
}

/** Instances of dmiod-attach@.service that are started at boot. */
function enabledAttachments() {
  const wants = readdirSync(join(root, at.units)).filter((name) => name.endsWith('.wants'));
  return wants
    .flatMap((folder) => readdirSync(join(root, at.units, folder)))
    .filter((name) => name.startsWith('dmiod-attach@'));
}
