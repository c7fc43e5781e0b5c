// Socket activation: several sockets, unix and TCP, with names and without, as systemd hands them over. The
// launcher is one of our own, in Python: it binds, sets the variables, and becomes the daemon.
import { writeFileSync } from 'node:fs';

import { TEST_ENGINE } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { runBeside } from '../support/run.ts';
import { DMIOD, Running } from '../support/running.ts';

const place = new Place();
const LAUNCHER = `
import os, socket, sys
names, kinds, command = sys.argv[1], sys.argv[2].split(','), sys.argv[3:]
fds = []
for i, kind in enumerate(kinds):
    if kind == 'file':
        fds.append(os.open('plain', os.O_CREAT | os.O_RDWR))
        continue
    s = socket.socket(socket.AF_UNIX if kind == 'unix' else socket.AF_INET, socket.SOCK_STREAM)
    s.bind(os.path.abspath('by-%d.sock' % i) if kind == 'unix' else ('0.0.0.0' if kind == 'far' else '127.0.0.1', 0))
    s.listen(16)
    fds.append(s.detach())
# Away from where they are to be, then there.
high = [os.dup2(fd, 50 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(high): os.dup2(fd, 3 + i, inheritable=True)
os.closerange(3 + len(high), 256)
os.environ['LISTEN_FDS'] = str(len(high))
os.environ['LISTEN_PID'] = str(os.getpid())
if names != '-': os.environ['LISTEN_FDNAMES'] = names
os.execvp(command[0], command)
`;

function activate(names: string, kinds: string): Running {
  writeFileSync(place.path('launch.py'), LAUNCHER);
  writeFileSync(place.path('dmiod.toml'), '[device.disk]\nlinear = "disk.img"\nsize = "1M"\n');
  const args = ['--control', 'control.sock', '--state-dir', 'state', '--config', 'dmiod.toml'];
  const engine = ['--engine', TEST_ENGINE];
  const before = ['python3', 'launch.py', names, kinds];
  const daemon = new Running(place.folder, [DMIOD, ...args, ...engine], before);
  started.push(daemon);
  return daemon;
}

const started: Running[] = [];
afterEach(async () => {
  for (const one of started.splice(0)) await one.stop('SIGKILL');
});

interface Listening {
  readonly address: string;
  readonly socket?: string;
}

const listening = (daemon: Running): readonly Listening[] =>
  daemon.stderr
    .split('\n')
    .filter((line) => line.includes('"msg":"listening"'))
    .map((line) => JSON.parse(line) as Listening);

async function sizeAt(uri: string): Promise<string> {
  const ran = await runBeside(place.folder, 'nbdinfo', '--size', uri);
  return ran.code === 0 ? ran.stdout.trim() : ran.stderr;
}

describe('sockets that somebody else has opened', () => {
  beforeEach(async () => {
    expect((await runBeside(place.folder, 'truncate', '-s', '1M', 'disk.img')).code).toBe(0);
  });

  it('are all served, unix and TCP, each under its name', async () => {
    const daemon = activate('local:far:second:more', 'unix,tcp,tcp,unix');
    await daemon.until(() => listening(daemon).length === 4);
    const found = listening(daemon);
    expect(found.map(({ socket }) => socket)).toEqual(['local', 'far', 'second', 'more']);
    expect(found[0]?.address).toBe(place.path('by-0.sock'));
    expect(found[3]?.address).toBe(place.path('by-3.sock'));
    const uris = found.map(({ address }) =>
      address.startsWith('/') ? `nbd+unix:///disk?socket=${address}` : `nbd://${address}/disk`,
    );
    for (const uri of uris) expect(await sizeAt(uri)).toBe('1048576');
    // What is told to people is a place where somebody listens.
    expect(await sizeAt(place.statusOf('disk').uri ?? '')).toBe('1048576');
    expect(await daemon.stop()).toBe(0);
  }, 60_000);

  it('need no names', async () => {
    const daemon = activate('-', 'tcp,unix');
    await daemon.until(() => listening(daemon).length === 2);
    expect(listening(daemon).map(({ socket }) => socket)).toEqual([undefined, undefined]);
    expect(await sizeAt(`nbd+unix:///disk?socket=${place.path('by-1.sock')}`)).toBe('1048576');
    expect(await daemon.stop()).toBe(0);
  }, 60_000);

  it.each([
    ['a file', 'unix,file', 'socket odd, file descriptor 4'],
    ['TCP beyond this machine, in the clear', 'unix,far', 'reachable from other machines'],
  ])(
    'are refused by name: %s',
    async (_, kinds, words) => {
      const daemon = activate('good:odd', kinds);
      expect(await daemon.exited).not.toBe(0);
      expect(daemon.stderr).toContain(words);
    },
    60_000,
  );
});
