// Everything an installed dmiod consists of, below a root: the running machine's, or a package's.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');
export const UNITS = ['dmiod.service', 'dmiod.socket', 'dmiod-attach@.service'];
const CONFIG_FILE = 'etc/dmiod/dmiod.toml';

/** Where things go: below /usr for a package, below /usr/local for who builds it on the machine. */
export function layout(prefix) {
  const share = `${prefix.slice(1)}/share`;
  return {
    prefix,
    lib: `${prefix.slice(1)}/lib/dmiod`,
    bin: `${prefix.slice(1)}/bin`,
    units: prefix === '/usr' ? 'usr/lib/systemd/system' : 'etc/systemd/system',
    man: `${share}/man`,
    doc: `${share}/doc/dmiod`,
    completions: {
      bash: `${share}/bash-completion/completions/dmio`,
      zsh: `${share}/zsh/${prefix === '/usr' ? 'vendor-completions' : 'site-functions'}/_dmio`,
      fish: `${share}/fish/vendor_completions.d/dmio.fish`,
    },
  };
}

/** Puts it all below `root`. An existing configuration is left alone. Returns the paths made. */
export function stage(root, prefix) {
  const at = layout(prefix);
  const made = [];
  const put = (path, text, mode = 0o644) => {
    const whole = join(root, path);
    mkdirSync(dirname(whole), { recursive: true });
    writeFileSync(whole, text);
    chmodSync(whole, mode);
    made.push(`/${path}`);
  };
  stageProgram(join(root, at.lib));
  made.push(`/${at.lib}`);
  for (const [name, main] of [
    ['dmiod', 'daemon/main.js'],
    ['dmio', 'cli/main.js'],
  ]) {
    const node = `/${at.lib}/node`;
    put(`${at.bin}/${name}`, `#!/bin/sh\nexec ${node} /${at.lib}/dist/${main} "$@"\n`, 0o755);
  }
  for (const unit of UNITS) {
    const text = readFileSync(join(ROOT, 'systemd', unit), 'utf8');
    put(`${at.units}/${unit}`, text.replaceAll('/usr/bin/', `/${at.bin}/`));
  }
  for (const page of readdirSync(join(ROOT, 'systemd/man'))) {
    const section = page.slice(-1);
    put(`${at.man}/man${section}/${page}`, readFileSync(join(ROOT, 'systemd/man', page)));
  }
  put(`${at.man}/man1/dmio.1`, dmio('manual'));
  for (const [shell, path] of Object.entries(at.completions)) put(path, dmio('completion', shell));
  for (const page of ['README.md', 'CHANGELOG.md', 'systemd/README.md', 'systemd/fstab.example']) {
    put(`${at.doc}/${page.replace('systemd/README', 'systemd')}`, readFileSync(join(ROOT, page)));
  }
  if (!existsSync(join(root, CONFIG_FILE))) {
    put(CONFIG_FILE, readFileSync(join(ROOT, 'systemd/dmiod.toml')));
  }
  mkdirSync(join(root, 'etc/dmiod/attach'), { recursive: true });
  return made;
}

/** dist/ without the tests, the packages it needs, and the node that runs it: Debian's may be too old. */
function stageProgram(lib) {
  rmSync(lib, { recursive: true, force: true });
  mkdirSync(lib, { recursive: true });
  for (const part of ['core', 'daemon', 'cli']) {
    cpSync(join(ROOT, 'dist', part), join(lib, 'dist', part), {
      recursive: true,
      filter: (path) => !/\.(?:map|d\.ts|tsbuildinfo)$/.test(path),
    });
  }
  for (const folder of productionPackages()) {
    cpSync(join(ROOT, folder), join(lib, folder), { recursive: true });
  }
  copyFileSync(join(ROOT, 'package.json'), join(lib, 'package.json'));
  copyFileSync(process.execPath, join(lib, 'node'));
  chmodSync(join(lib, 'node'), 0o755);
  writeFileSync(join(lib, 'dist/package.json'), '{"type":"module"}\n');
}

function productionPackages() {
  const args = ['ls', '--omit=dev', '--all', '--parseable'];
  const listed = execFileSync('npm', args, {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const folders = listed
    .trim()
    .split('\n')
    .map((path) => relative(ROOT, path));
  return folders.filter(
    (folder) => folder.startsWith('node_modules/') && existsSync(join(ROOT, folder)),
  );
}

function dmio(...args) {
  return execFileSync(process.execPath, [join(ROOT, 'dist/cli/main.js'), ...args]);
}
