// npm run package:deb: dmiod_VERSION_ARCH.deb in var/, with node inside (Debian 12's own is 18).
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, stage } from './system/stage.js';

const { version, description } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const architecture = { x64: 'amd64', arm64: 'arm64' }[process.arch];
if (architecture === undefined) throw new Error(`no Debian name for ${process.arch}`);

const tree = mkdtempSync(join(tmpdir(), 'dmiod-deb-'));
try {
  chmodSync(tree, 0o755);
  stage(tree, '/usr');
  mkdirSync(join(tree, 'DEBIAN'));
  const control = (name, text, mode) => {
    writeFileSync(join(tree, 'DEBIAN', name), text);
    chmodSync(join(tree, 'DEBIAN', name), mode);
  };
  control('control', controlFile(), 0o644);
  control('conffiles', '/etc/dmiod/dmiod.toml\n', 0o644);
  for (const script of ['postinst', 'prerm', 'postrm']) {
    control(script, readFileSync(join(import.meta.dirname, 'system', script)), 0o755);
  }
  mkdirSync(join(ROOT, 'var'), { recursive: true });
  const file = join(ROOT, 'var', `dmiod_${version}_${architecture}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zzstd', '-z3', '--build', tree, file], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  console.log(file);
} finally {
  rmSync(tree, { recursive: true, force: true });
}

function controlFile() {
  return `Package: dmiod
Version: ${version}
Architecture: ${architecture}
Maintainer: dmiod maintainers <root@localhost>
Installed-Size: ${Math.ceil(sizeOf(tree) / 1024)}
Depends: libc6, libstdc++6, init-system-helpers (>= 1.51)
Recommends: nbd-client, kmod, systemd
Section: admin
Priority: optional
Description: ${description.split(':')[0]}
 dmiod keeps every write on two or more legs (files or disks) and serves the
 result over NBD; dmio attaches it as /dev/nbdN and manages it.
`;
}

function sizeOf(folder) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += readFileSync(join(entry.parentPath, entry.name)).length;
  }
  return bytes;
}
