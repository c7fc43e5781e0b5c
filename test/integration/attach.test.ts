// attach where the kernel has no nbd: words that say what to do. What it does elsewhere: test/vm.
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';

import { dmio, startDaemon } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { run } from '../support/run.ts';
import { DMIO } from '../support/running.ts';

const place = new Place();
const SLOW = 120_000;

it(
  'refuses in words and by code; nothing is attached',
  async () => {
    await startDaemon(place.folder);
    place.ok('create', 'data', '--table', '0 2048 zero');
    expect(dmio(place.folder, 'attach', 'nothing')).toMatchObject({ code: 4 });
    expect(dmio(place.folder, 'attach', 'data', '/dev/sda')).toMatchObject({
      code: 2,
      stderr: 'dmio: /dev/sda: expected /dev/nbdN\n',
    });
    expect(dmio(place.folder, 'attach', 'data', '--connections', '0')).toMatchObject({ code: 2 });
    expect(dmio(place.folder, 'attach', 'data', '--timeout', '0')).toMatchObject({ code: 2 });
    expect(dmio(place.folder, 'detach', 'data')).toMatchObject({ code: 4 });
    expect(dmio(place.folder, 'detach', '/dev/nbd0')).toMatchObject({ code: 4 });
    expect(place.ok('attached')).toBe('nothing is attached\n');
    expect(JSON.parse(place.ok('attached', '--json'))).toEqual({ attached: [] });
    expect(place.statusOf('data')).toMatchObject({ attached: [], mounts: [] });
    if (!existsSync('/sys/module/nbd') && !existsSync('/sys/block/nbd0')) {
      const { code, stderr } = dmio(place.folder, 'attach', 'data');
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /^dmio: (the kernel has no nbd: "modprobe nbd"|nbd-client is not installed)/,
      );
    }
  },
  SLOW,
);

it('the doctor examines the machine without a daemon, each trouble with a remedy', () => {
  const ran = run(place.folder, process.execPath, DMIO, '--control', 'none', 'doctor', '--json');
  expect(ran.code).toBe(0);
  const { checks } = JSON.parse(ran.stdout) as {
    checks: { name: string; verdict: string; finding: string; remedy: string | null }[];
  };
  expect(checks.map(({ name }) => name)).toEqual([
    'node',
    'native calls',
    'kernel',
    'nbd module',
    'nbd-client',
    'privileges',
    'memory flushing',
    'io_uring',
    'open files',
    'locked memory',
    'systemd',
    'daemon',
  ]);
  for (const { verdict, finding, remedy } of checks) {
    expect(['ok', 'warn', 'bad']).toContain(verdict);
    expect(finding).not.toBe('');
    expect(remedy === null).toBe(verdict === 'ok');
  }
  expect(checks.at(-1)).toMatchObject({ verdict: 'warn' });
});

it('completion is of the shell, knows every command, and bash completes by it', () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { stdout, code } = run(place.folder, process.execPath, DMIO, 'completion', shell);
    expect(code).toBe(0);
    for (const word of ['attach', 'detach', 'doctor', 'connections', 'fail'])
      expect(stdout).toContain(word);
  }
  expect(run(place.folder, process.execPath, DMIO, 'completion', 'csh').code).toBe(2);
  const script = run(place.folder, process.execPath, DMIO, 'completion', 'bash').stdout;
  writeFileSync(place.path('dmio.bash'), script);
  mkdirSync(place.path('bin'));
  writeFileSync(place.path('bin/dmio'), '#!/bin/sh\nprintf "NAME SIZE\\ndata 1\\nbulk 2\\n"\n');
  chmodSync(place.path('bin/dmio'), 0o755);
  const complete = (words: string, at: number): string =>
    run(
      place.folder,
      'bash',
      '-c',
      `PATH=$PWD/bin:$PATH; . ./dmio.bash; COMP_WORDS=(${words}); COMP_CWORD=${at}; _dmio; echo "\${COMPREPLY[*]}"`,
    ).stdout.trim();
  expect(complete('dmio att', 1)).toBe('attach attached');
  expect(complete('dmio detach da', 2)).toBe('data');
  expect(complete('dmio attach data --con', 3)).toBe('--connections');
  expect(complete('dmio leg fa', 2)).toBe('fail');
});

it('the manual is roff with every command', () => {
  const { stdout, code } = run(place.folder, process.execPath, DMIO, 'manual');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\.TH DMIO 1 /);
  expect(stdout).toContain('.SS "dmio leg fail <NAME> <LEG>"');
});
