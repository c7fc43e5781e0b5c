// Copying one leg over another: dmiod's first resync, nbdcopy and dd, on the same two files, each until
// the copy is durable.
import { call } from '../../cli/client.ts';
import type { Requirement } from '../support/requirements.ts';
import { settle } from './legs.ts';
import { RunningServer } from './running-server.ts';
import { controlOf, dmiod, engineOf } from './servers.ts';
import type { Server } from './servers.ts';
import { NOTHING } from './turn.ts';
import type { Bench } from './turn.ts';
import type { Contestant, Metrics } from './types.ts';

const COPY_LIMIT_MS = 600_000;

export const COPY_REQUIREMENTS: readonly Requirement[] = [
  { command: 'nbdcopy', debian: 'libnbd-bin', why: 'a copy to compare a resync with' },
  { command: 'dd', debian: 'coreutils', why: 'a copy to compare a resync with' },
];

type Copy = (bench: Bench, from: string, to: string) => Promise<number>;

const PROGRAMS: Readonly<Record<string, (from: string, to: string) => readonly string[]>> = {
  nbdcopy: (from, to) => ['nbdcopy', '--flush', from, to],
  dd: (from, to) => ['dd', `if=${from}`, `of=${to}`, 'bs=1M', 'conv=notrunc,fdatasync'],
};

export function copyTurns(bench: Bench, ours: readonly Server[]): readonly Contestant[] {
  return [
    ...ours.map((server) => contestant(bench, server.id, resyncBy(server))),
    ...Object.entries(PROGRAMS).map(([label, argvOf]) =>
      contestant(bench, label, (_bench, from, to) =>
        timed(() => bench.children.run(argvOf(from, to), bench.folder, COPY_LIMIT_MS)),
      ),
    ),
  ];
}

function contestant(bench: Bench, label: string, copy: Copy): Contestant {
  return {
    label,
    turn: async (): Promise<Metrics> => {
      const [from = '', to = ''] = await bench.legs.of('cached', 2);
      const seconds = await copy(bench, from, to);
      settle([from, to]);
      return { ...NOTHING, mibPerSecond: bench.legs.sizeBytes / 2 ** 20 / seconds };
    },
  };
}

/** From the greeting, when the resync has just started, until the daemon says it is over. */
function resyncBy(ours: Server): Copy {
  const server = dmiod(engineOf(ours), { resync: true });
  return async ({ children, folder, legs: { sizeBytes } }, from, to) => {
    const legs = [from, to];
    const place = { children, server, legs, sizeBytes, folder };
    const running = await RunningServer.start({ ...place, transport: 'unix', cpu: null });
    try {
      const wait = { name: server.exportName, timeoutMs: COPY_LIMIT_MS };
      return await timed(() => call(controlOf(running.address), 'wait', wait));
    } finally {
      await running.stop();
    }
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}
