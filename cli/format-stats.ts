/** Counters as tables for people. Pure. */
import { formatBytes } from '../core/base/units.ts';
import type { DeviceCounts, IoCounts, OpCounts, StatsReport } from '../core/control/status.ts';
import { columns } from './text.ts';

const HEAD = ['', 'op', 'requests', 'errors', 'bytes', 'mean', 'p50', 'p99', 'p99.9', 'max'];

/** `stats`: everything since the device was started. */
export function statsLines({ devices }: StatsReport): string[] {
  if (devices.length === 0) return ['no devices'];
  return devices.flatMap((device, i) => (i === 0 ? [] : ['']).concat(deviceTable(device)));
}

function deviceTable({ name, io, legs }: DeviceCounts): string[] {
  const rows = [HEAD, ...opRows('clients', io)];
  for (const { index, io: legIo } of legs) rows.push(...opRows(`leg ${index}`, legIo));
  const paths = legs.map(({ index, leg }) => `  leg ${index}: ${leg}`);
  return [name, ...columns(rows, '  '), ...paths];
}

function opRows(who: string, io: IoCounts): string[][] {
  const used = Object.entries(io).filter(([, { requests }]) => requests > 0);
  if (used.length === 0) return [[who, '-']];
  return used.map(([op, counts], i) => [i === 0 ? who : '', op, ...cells(counts)]);
}

function cells({
  requests,
  errors,
  bytes,
  meanUs,
  p50Us,
  p99Us,
  p999Us,
  maxUs,
}: OpCounts): string[] {
  const times = [meanUs, p50Us, p99Us, p999Us, maxUs].map(timeText);
  return [String(requests), String(errors), formatBytes(bytes), ...times];
}

/** 800 -> `800 us`, 1500 -> `1.50 ms`. */
export function timeText(us: number | null): string {
  if (us === null) return '-';
  if (us < 1000) return `${Math.round(us)} us`;
  const value = us < 1e6 ? us / 1000 : us / 1e6;
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${us < 1e6 ? 'ms' : 's'}`;
}

const TOP_HEAD = ['', 'reads/s', 'read', 'writes/s', 'written', 'flushes/s', 'read', 'write'];

/** `top`: the rates between two reports; latencies are means of that time. */
export function topLines(before: StatsReport, now: StatsReport): string[] {
  const seconds = (now.timeMs - before.timeMs) / 1000;
  const rows = [TOP_HEAD];
  for (const device of now.devices) {
    const earlier = before.devices.find(({ name }) => name === device.name);
    rows.push(rateRow(device.name, earlier?.io, device.io, seconds));
    for (const { index, leg, io } of device.legs) {
      const same = earlier?.legs.find((each) => each.leg === leg);
      rows.push(rateRow(`  leg ${index}`, same?.io, io, seconds));
    }
  }
  return now.devices.length === 0 ? ['no devices'] : columns(rows);
}

function rateRow(
  name: string,
  before: IoCounts | undefined,
  now: IoCounts,
  seconds: number,
): string[] {
  const reads = difference(before?.read, now.read);
  const writes = difference(before?.write, now.write);
  const flushes = difference(before?.flush, now.flush);
  const rate = (value: number): number => (seconds > 0 ? value / seconds : 0);
  return [
    name,
    String(Math.round(rate(reads.requests))),
    `${formatBytes(Math.round(rate(reads.bytes)))}/s`,
    String(Math.round(rate(writes.requests))),
    `${formatBytes(Math.round(rate(writes.bytes)))}/s`,
    String(Math.round(rate(flushes.requests))),
    timeText(meanOf(reads)),
    timeText(meanOf(writes)),
  ];
}

type Sum = Pick<OpCounts, 'requests' | 'bytes' | 'totalUs'>;

/** A device that was restarted meanwhile counts from nothing. */
function difference(before: OpCounts | undefined, now: OpCounts): Sum {
  if (before === undefined || before.requests > now.requests) return now;
  return {
    requests: now.requests - before.requests,
    bytes: now.bytes - before.bytes,
    totalUs: now.totalUs - before.totalUs,
  };
}

function meanOf({ requests, totalUs }: Sum): number | null {
  return requests === 0 ? null : totalUs / requests;
}
