// `node dist/test/bench/client/main.js JOB`: our own load generator, a process of its own so that it
// can be put on a CPU. JOB is JSON (connection.ts); the result is one line of JSON (types.ts).
import { setTimeout as sleep } from 'node:timers/promises';

import { percentile, unevennessOf } from '../stats.ts';
import type { LoadResult } from '../types.ts';
import { Connection } from './connection.ts';
import type { Job } from './connection.ts';

async function runJob(job: Job): Promise<LoadResult> {
  const count = job.load.connections;
  const connections: Connection[] = [];
  // One after the other: nbd-server's queue of connections to accept is short.
  while (connections.length < count) {
    const connection = new Connection(job, connections.length);
    await connection.ready();
    connections.push(connection);
  }

  const start = performance.now();
  for (const connection of connections) connection.start();
  const all = Promise.all(connections.map(({ ended }) => ended));
  // An early end of a connection is a failure: the race rejects.
  await Promise.race([all, sleep(job.seconds * 1000)]);
  for (const connection of connections) connection.finish();
  await all;
  const seconds = (performance.now() - start) / 1000;

  const latenciesUs = Float64Array.from(connections.flatMap((each) => each.latenciesUs)).sort();
  const requests = latenciesUs.length;
  const at = (percent: number): number | null =>
    requests === 0 ? null : percentile(latenciesUs, percent);
  const bytes = requests * job.load.blockBytes;
  const unevenness = unevennessOf(connections.map((each) => each.latenciesUs.length));
  return { requests, bytes, seconds, p50Us: at(50), p99Us: at(99), p999Us: at(99.9), unevenness };
}

try {
  // The runner wrote it, from the same types.
  const job = JSON.parse(process.argv[2] ?? '') as Job;
  console.log(JSON.stringify(await runJob(job)));
  process.exit(0);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
