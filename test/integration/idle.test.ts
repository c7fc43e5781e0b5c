// A mirror with a client that asks nothing uses no CPU: no spin, no poll, no busy timer.
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { cpuSecondsOf } from '../bench/proc.ts';
import { Connection } from '../bench/client/connection.ts';
import { Place } from '../support/place.ts';
import { startServe } from '../support/programs.ts';

const SLOW = 120_000;
/** Connecting, compiling and collecting garbage are over by then, however busy the machine is. */
const SETTLE_MS = 2000;
const WATCHED_MS = 4000;
/** Of one CPU. Measured: below 0.5 %; a thread that spins takes all it gets. */
const MOST = 0.1;

const place = new Place();

it(
  'costs no CPU while nobody asks for anything',
  async () => {
    const legs = ['a.img', 'b.img', '--create', '--size', '16M', '--assume-clean'];
    const serve = await startServe(place.folder, '--mirror', ...legs, '--socket', 'nbd.sock');
    const load = { pattern: 'idle', blockBytes: 4096, depth: 1, connections: 1 } as const;
    const connection = new Connection(
      {
        load: { ...load, sync: 'none', client: 'own' },
        address: { transport: 'unix', path: place.path('nbd.sock'), port: 0 },
        exportName: '',
        sizeBytes: 2 ** 24,
        seconds: 0,
      },
      0,
    );
    await connection.ready();
    // Another, which never says a word.
    const silent = connect({ path: place.path('nbd.sock') });
    await sleep(SETTLE_MS);

    const before = cpuSecondsOf(serve.pid);
    await sleep(WATCHED_MS);
    const used = cpuSecondsOf(serve.pid) - before;
    expect(used).toBeLessThan((WATCHED_MS / 1000) * MOST);

    silent.destroy();
    connection.finish();
    await connection.ended;
    expect(await serve.stop()).toBe(0);
  },
  SLOW,
);
