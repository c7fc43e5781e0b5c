// How long the daemon takes to answer its control socket: each call a connection of its own, as `dmio`
// makes it, one after the other, beside a client that keeps 32 requests in flight or none.
import { call } from '../../cli/client.ts';
import { fioArguments } from './fio.ts';
import { RunningServer } from './running-server.ts';
import { controlOf, uriOf } from './servers.ts';
import type { Server } from './servers.ts';
import { percentile } from './stats.ts';
import { NOTHING } from './turn.ts';
import type { Bench } from './turn.ts';
import type { Metrics } from './types.ts';

/** `suspend`: a suspend and the resume after it, each counted. */
export type ControlCalls = 'stats' | 'suspend';

const DEVICE = 'data0';
const LIMIT_MS = 60_000;
const BLOCK_BYTES = 4096;
const DEPTH = 32;

export async function controlTurn(
  bench: Bench,
  server: Server,
  calls: ControlCalls,
  isBusy: boolean,
): Promise<Metrics> {
  const { children, folder, seconds } = bench;
  const legs = await bench.legs.of(server.files, 1);
  const { sizeBytes } = bench.legs;
  const place = { children, server, legs, sizeBytes, folder };
  const running = await RunningServer.start({ ...place, transport: 'unix', cpu: null });
  try {
    const control = controlOf(running.address);
    // Compiled and warm, as in the other rows.
    await timesOf(control, calls, bench.warmSeconds);
    const uri = uriOf(running.address, DEVICE);
    const load = { pattern: 'randread', blockBytes: BLOCK_BYTES, depth: DEPTH } as const;
    const how = { ...load, connections: 1, sync: 'none', client: 'fio' } as const;
    const argv = fioArguments(how, uri, sizeBytes, seconds + bench.warmSeconds);
    const busy = isBusy ? children.run(argv, folder, LIMIT_MS) : Promise.resolve('');
    const [times] = await Promise.all([timesOf(control, calls, seconds), busy]);
    const at = (percent: number): number => percentile(times, percent);
    return { ...NOTHING, p50Us: at(50), p99Us: at(99), p999Us: at(99.9) };
  } finally {
    await running.stop();
  }
}

/** Microseconds of each call, sorted. */
async function timesOf(control: string, calls: ControlCalls, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const timed = async (work: () => Promise<unknown>): Promise<void> => {
    const start = performance.now();
    await work();
    times.push((performance.now() - start) * 1000);
  };
  const end = performance.now() + seconds * 1000;
  do {
    if (calls === 'stats') await timed(() => call(control, 'stats', { name: DEVICE }));
    else {
      await timed(() => call(control, 'suspend', { name: DEVICE }));
      await timed(() => call(control, 'resume', { name: DEVICE }));
    }
  } while (performance.now() < end);
  return times.sort((a, b) => a - b);
}
