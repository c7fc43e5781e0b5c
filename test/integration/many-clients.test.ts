// Many clients at once, of one device and of many, and the control socket beside them: nobody starves.
// No times: what one gets is compared with what the others get meanwhile.
import { truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { call } from '../../cli/client.ts';
import { Connection } from '../bench/client/connection.ts';
import { median, unevennessOf } from '../bench/stats.ts';
import type { Load } from '../bench/types.ts';
import { Place } from '../support/place.ts';
import { startDaemon, startServe } from '../support/programs.ts';

const SLOW = 180_000;
const KIB = 1024;
const DEVICE_BYTES = 16 * 2 ** 20;
/** How much more than another a client may get. Measured: 1.1 to 1.4; a starved one gets next to nothing. */
const MOST_UNEVEN = 5;

const place = new Place();

interface Kind {
  readonly blockBytes: number;
  readonly depth: number;
  readonly pattern?: Load['pattern'];
}

/** Clients in transmission, which have not asked yet. `exportName`: `#` is the client's number. */
async function connected(
  count: number,
  exportName: string,
  { blockBytes, depth, pattern = 'randrw' }: Kind,
  sizeBytes = DEVICE_BYTES,
): Promise<readonly Connection[]> {
  const load = { pattern, blockBytes, depth, connections: count, sync: 'none', client: 'own' };
  const address = { transport: 'unix', path: place.path('nbd.sock'), port: 0 } as const;
  const job = { load: load as Load, address, exportName, sizeBytes, seconds: 0 };
  const all = Array.from({ length: count }, (_, i) => new Connection(job, i));
  for (const each of all) await each.ready();
  return all;
}

const answers = (connection: Connection): number => connection.latenciesUs.length;
const total = (all: readonly Connection[]): number =>
  all.reduce((sum, each) => sum + answers(each), 0);

/** Lets them ask until `enough`. Counted is when they stop asking: what is under way is nobody's gain. */
async function race(all: readonly Connection[], enough: () => boolean): Promise<readonly number[]> {
  for (const each of all) each.start();
  while (!enough()) {
    await Promise.race([sleep(20), ...all.map(({ ended }) => ended)]);
  }
  const counts = all.map(answers);
  for (const each of all) each.finish();
  await Promise.all(all.map(({ ended }) => ended));
  return counts;
}

function serveOne(): Promise<unknown> {
  writeFileSync(place.path('a.img'), '');
  truncateSync(place.path('a.img'), DEVICE_BYTES);
  return startServe(place.folder, '--linear', 'a.img', '--socket', 'nbd.sock');
}

describe('many connections', () => {
  it(
    'eight of one device get alike',
    async () => {
      await serveOne();
      const all = await connected(8, '', { blockBytes: 4 * KIB, depth: 8 });
      const counts = await race(all, () => total(all) >= 8000);
      expect(unevennessOf(counts)).toBeLessThan(MOST_UNEVEN);
    },
    SLOW,
  );

  it(
    'one that asks for little goes on beside seven that ask for all they can get',
    async () => {
      await serveOne();
      const greedy = await connected(7, '', { blockBytes: 128 * KIB, depth: 64 });
      const modest = await connected(1, '', { blockBytes: 4 * KIB, depth: 1, pattern: 'randread' });
      const all = [...modest, ...greedy];
      const [mine = 0, ...theirs] = await race(all, () => total(greedy) >= 2000);
      // A turn gives each of them at most 64 requests, and the modest one its one.
      expect(mine * 64).toBeGreaterThan(Math.max(...theirs));
    },
    SLOW,
  );

  it(
    'sixty-four of sixty-four devices get alike',
    async () => {
      const sizeBytes = 2 ** 20;
      const names = Array.from({ length: 64 }, (_, i) => `d${i}`);
      for (const name of names) {
        writeFileSync(place.path(`${name}.img`), '');
        truncateSync(place.path(`${name}.img`), sizeBytes);
      }
      const lines = names.map((name) => `[device.${name}]\nlinear = "${place.path(name)}.img"\n`);
      writeFileSync(place.path('dmiod.toml'), lines.join(''));
      await startDaemon(place.folder, '--config', 'dmiod.toml');
      const all = await connected(64, 'd#', { blockBytes: 4 * KIB, depth: 4 }, sizeBytes);
      const counts = await race(all, () => total(all) >= 10_000);
      expect(unevennessOf(counts)).toBeLessThan(MOST_UNEVEN);
    },
    SLOW,
  );
});

describe('the control socket', () => {
  const control = (): string => place.path('control.sock');

  async function mirror(): Promise<void> {
    await startDaemon(place.folder);
    place.ok('create', 'data', '--mirror', 'a.img', 'b.img', '--size', '16M');
  }

  /** A look, a suspend and its resume, and a leg that leaves and comes back. */
  const ROUND: readonly (() => Promise<unknown>)[] = [
    () => call(control(), 'stats', { name: 'data' }),
    () => call(control(), 'suspend', { name: 'data' }),
    () => call(control(), 'resume', { name: 'data' }),
    () => call(control(), 'leg-fail', { name: 'data', leg: place.path('b.img') }),
    () => call(control(), 'leg-re-add', { name: 'data', leg: place.path('b.img') }),
  ];
  const ROUNDS = 8;

  it(
    'reaches a worker that sleeps',
    async () => {
      await mirror();
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const word of ROUND) await word();
      }
      // The worker said so itself: its counters, after its legs came and went.
      expect(place.statusOf('data').legs).toHaveLength(2);
    },
    SLOW,
  );

  it(
    'reaches one whose clients never let it rest, before they have got much more',
    async () => {
      await mirror();
      const all = await connected(2, 'data', { blockBytes: 4 * KIB, depth: 32 });
      const passed: number[] = [];
      let isOver = false;
      const calling = (async () => {
        for (let round = 0; round < ROUNDS; round += 1) {
          for (const word of ROUND) {
            const before = total(all);
            await word();
            passed.push(total(all) - before);
          }
        }
        isOver = true;
      })();
      const counts = await race(all, () => isOver);
      await calling;
      expect(Math.min(...counts)).toBeGreaterThan(0);
      // At the most these clients were ever given, it is less than a tenth of a second's requests.
      expect(median(passed)).toBeLessThan(10_000);
      expect(passed).toHaveLength(ROUNDS * ROUND.length);
    },
    SLOW,
  );
});
