// fio as a client: its arguments for a load, and the few numbers of its JSON that we want.
import { z } from 'zod';

import { isReadOnly } from './matrix.ts';
import type { Load, LoadResult } from './types.ts';

const FLUSH_EVERY = 32;

export function fioArguments(
  load: Load,
  uri: string,
  sizeBytes: number,
  seconds: number,
): readonly string[] {
  const { pattern, blockBytes, depth, connections, sync } = load;
  // Sequential connections have each their own part; random ones share the whole.
  const isSequential = pattern === 'read' || pattern === 'write';
  const share = isSequential ? roundDown(sizeBytes / connections, blockBytes) : sizeBytes;
  return [
    'fio',
    '--name=bench',
    // Not processes: each would be a session of its own, and so an autogroup of its own to the scheduler.
    '--thread',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${pattern}`,
    `--bs=${blockBytes}`,
    `--iodepth=${depth}`,
    `--numjobs=${connections}`,
    `--size=${share}`,
    ...(isSequential && connections > 1 ? [`--offset_increment=${share}`] : []),
    '--norandommap',
    '--time_based',
    `--runtime=${Math.round(seconds * 1000)}ms`,
    '--group_reporting',
    '--unified_rw_reporting=mixed',
    '--lat_percentiles=1',
    '--clat_percentiles=0',
    '--percentile_list=50:99:99.9',
    ...(sync === 'flush' && !isReadOnly(pattern) ? [`--fsync=${FLUSH_EVERY}`] : []),
    '--output-format=json',
  ];
}

function roundDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

const nanoseconds = z.number().nonnegative();
const report = z.object({
  jobs: z.tuple([
    z.object({
      error: z.literal(0),
      mixed: z.object({
        io_bytes: z.number(),
        total_ios: z.number(),
        runtime: z.number().positive(),
        lat_ns: z.object({
          percentile: z.object({
            '50.000000': nanoseconds,
            '99.000000': nanoseconds,
            '99.900000': nanoseconds,
          }),
        }),
      }),
    }),
  ]),
});

/** @throws when it is no report, or one of a failed job. Lines around the JSON are fio's remarks. */
export function parseFio(text: string): LoadResult {
  const body = text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1);
  const { mixed } = report.parse(JSON.parse(body)).jobs[0];
  const { percentile } = mixed.lat_ns;
  return {
    requests: mixed.total_ios,
    bytes: mixed.io_bytes,
    seconds: mixed.runtime / 1000,
    p50Us: percentile['50.000000'] / 1000,
    p99Us: percentile['99.000000'] / 1000,
    p999Us: percentile['99.900000'] / 1000,
    unevenness: null,
  };
}
