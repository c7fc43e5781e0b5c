/** `npm start`: a mirror of two files under ./var, served until Ctrl-C; kept from start to start. */
import { relative, resolve } from 'node:path';
import { ControlError, EXIT, oneLine } from '../core/control/error.ts';
import { Daemon } from './daemon.ts';
import { DEFAULT_RETURN } from './devices/leg-return.ts';
import type { DeviceRequest } from './devices/request.ts';
import { makeFolder } from './make-folder.ts';
import { openLog } from './log.ts';
import { runUntilStopped, Signals } from './run.ts';

const NAME = 'demo';
const SIZE_BYTES = 1024 ** 3;
const FOLDER = resolve('var');
const SOCKET = resolve(FOLDER, 'nbd.sock');
const CONTROL = resolve(FOLDER, 'control.sock');

/** Made by the first start. The next one finds it in the state directory, and its data on the legs. */
const DEMO: DeviceRequest = {
  name: NAME,
  source: 'create',
  mirror: ['a.img', 'b.img'].map((leg) => resolve(FOLDER, leg)),
  sizeBytes: SIZE_BYTES,
  assumeClean: false,
  readOnly: false,
  mayCreate: true,
  createHint: '',
  metadata: 'new',
  content: { kind: 'refuse', remedy: 'move the file away, or use it with `dmio create`' },
};

async function demo(): Promise<number> {
  makeFolder(FOLDER);
  const log = openLog('warn');
  const signals = new Signals();
  const daemon = await Daemon.start(
    {
      control: CONTROL,
      stateDir: resolve(FOLDER, 'state'),
      metrics: null,
      listen: [{ kind: 'unix', path: SOCKET }],
      devices: {},
      engine: 'auto',
      legReturn: DEFAULT_RETURN,
      first: DEMO,
    },
    log,
  );
  process.stdout.write(greeting(daemon.uriOf(NAME) ?? SOCKET));
  return runUntilStopped(daemon, { log, signals });
}

function greeting(uri: string): string {
  const control = relative(process.cwd(), CONTROL);
  return `
A mirror of two files, var/a.img and var/b.img, is served at

  ${uri}

Try, in another terminal:

  nbdinfo '${uri}'
  qemu-img bench -f raw -c 20000 -d 16 '${uri}'
  npx dmio --control ${control} status

Ctrl-C ends it; the next \`npm start\` finds the data as you left it.
`;
}

let code: number;
try {
  code = await demo();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`npm start: ${oneLine(message)}\n`);
  code = error instanceof ControlError ? error.exit : EXIT.FAILED;
}
process.exit(code);
