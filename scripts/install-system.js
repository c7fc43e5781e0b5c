// npm run install:system (as root): below /usr/local, units in /etc/systemd/system. Nothing is started.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { stage } from './system/stage.js';

const root = process.env.DESTDIR ?? '/';
if (root === '/' && process.getuid?.() !== 0) {
  console.error('install:system writes to /usr/local and /etc: run it as root, or set DESTDIR');
  process.exit(1);
}
for (const path of stage(root, '/usr/local')) console.log(path);
if (root === '/' && existsSync('/run/systemd/system')) execFileSync('systemctl', ['daemon-reload']);
console.log('Installed. systemctl enable --now dmiod starts it, now and at every boot.');
