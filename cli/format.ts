/** Reports as lines for people. Pure, so that every line is tested. */
import { bytesOfSectors, formatBytes } from '../core/base/units.ts';
import type {
  AttachedReport,
  DeviceInfo,
  DeviceState,
  DeviceStatus,
  LegErrors,
  LegState,
  LegStatus,
  LinesReport,
  ListReport,
  ResyncStatus,
} from '../core/control/status.ts';

/** Columns as wide as their widest cell, two blanks between; the last is not padded. */
export function columns(rows: readonly (readonly string[])[], indent = ''): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  }
  return rows.map((row) => {
    const cells = row.map((cell, i) => cell.padEnd(widths[i] ?? 0));
    return `${indent}${cells.join('  ')}`.trimEnd();
  });
}

export function listLines(report: ListReport): string[] {
  if (report.devices.length === 0) return ['no devices'];
  return columns([
    ['NAME', 'SIZE', 'TARGET', 'STATE', 'URI'],
    ...report.devices.map(({ name, sizeBytes, target, state, uri }) => [
      name,
      sizeOf(sizeBytes),
      target,
      state,
      uri ?? '-',
    ]),
  ]);
}

export function statusLines(devices: readonly DeviceStatus[]): string[] {
  if (devices.length === 0) return ['no devices'];
  return devices.flatMap((device, i) => (i === 0 ? [] : ['']).concat(deviceLines(device)));
}

/**
 * One device:
 *
 *   data  mirror [UU_]  1 GiB  resyncing
 *     export   nbd+unix:///data?socket=/run/dmiod/nbd.sock, 1 connection
 *     regions  2048 x 512 KiB: 1 dirty, 640 out of sync
 *     resync   [=============>......]  68.8 %  704 MiB of 1 GiB  120 MiB/s  about 3 s left
 *     leg 0    in-sync    /srv/a.img
 *     leg 1    in-sync    /srv/b.img
 *     leg 2    resyncing  /srv/c.img  320 MiB behind, 1 write error
 */
function deviceLines(device: DeviceStatus): string[] {
  const { name, target, legs, sizeBytes, state, regions, resync, reason } = device;
  const picture = legs.length === 0 ? target : `${target} ${legPicture(legs)}`;
  const facts: string[][] = [];
  if (reason !== null) facts.push(['because', reason]);
  if (device.uri !== null) facts.push(['export', exportText(device, device.uri)]);
  else if (device.attached.length > 0) facts.push(['export', exportText(device, 'no address')]);
  if (regions !== null) {
    const { total, dirty, outOfSync } = regions;
    const size = formatBytes(regions.sizeBytes);
    facts.push(['regions', `${total} x ${size}: ${dirty} dirty, ${outOfSync} out of sync`]);
  }
  if (resync !== null) facts.push(['resync', resyncText(resync)]);
  for (const [i, text] of columns(legs.map(legRow)).entries()) {
    facts.push([`leg ${legs[i]?.index ?? i}`, text]);
  }
  return [`${name}  ${picture}  ${sizeOf(sizeBytes)}  ${state}`, ...columns(facts, '  ')];
}

const LEG_LETTERS: Readonly<Record<LegState, string>> = {
  'in-sync': 'U',
  resyncing: 'r',
  failed: 'F',
  missing: '_',
  stale: 's',
};

/** After /proc/mdstat: `[UU_]`. */
function legPicture(legs: readonly LegStatus[]): string {
  return `[${legs.map(({ state }) => LEG_LETTERS[state]).join('')}]`;
}

function exportText({ connections, attached, mounts }: DeviceStatus, uri: string): string {
  const clients = connections === 0 ? '' : `, ${plural(connections, 'connection')}`;
  const places = attached.map((device) => {
    const points = mounts.filter((mount) => mount.device === device).map(({ path }) => path);
    return `, attached as ${device}${points.length === 0 ? '' : ` on ${points.join(', ')}`}`;
  });
  return `${uri}${clients}${places.join('')}`;
}

export function attachedLines({ attached }: AttachedReport): string[] {
  if (attached.length === 0) return ['nothing is attached'];
  return columns([
    ['DEVICE', 'NAME', 'SIZE', 'CONNECTIONS', 'MOUNTED ON'],
    ...attached.map(({ device, name, sizeBytes, connections, mounts }) => [
      device,
      name,
      formatBytes(sizeBytes),
      String(connections),
      mounts.length === 0 ? '-' : mounts.join(', '),
    ]),
  ]);
}

function legRow(leg: LegStatus): string[] {
  return [leg.state, leg.leg, legTrouble(leg)];
}

function legTrouble({ outOfSyncBytes, errors, reason, ...leg }: LegStatus): string {
  const parts = errorParts(errors);
  if (leg.replaces !== null) parts.unshift(`replaces ${leg.replaces}`);
  if (leg.writeMostly) parts.unshift('write-mostly');
  if (outOfSyncBytes !== null && outOfSyncBytes > 0) {
    parts.unshift(`${formatBytes(outOfSyncBytes)} behind`);
  }
  if (reason !== null) parts.push(reason);
  return parts.join(', ');
}

function errorParts({ read, write, flush, resync }: LegErrors): string[] {
  const kinds: [number, string][] = [
    [read, 'read error'],
    [write, 'write error'],
    [flush, 'flush error'],
    [resync, 'resync error'],
  ];
  return kinds.filter(([count]) => count > 0).map(([count, what]) => plural(count, what));
}

const BAR_CELLS = 20;

function resyncText({ doneBytes, totalBytes, bytesPerSecond, etaSeconds }: ResyncStatus): string {
  const ratio = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  // Rounded down: 100.0 % is said when it is true.
  const percent = (Math.floor(ratio * 1000) / 10).toFixed(1);
  const parts = [
    progressBar(ratio),
    `${percent} %`,
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
  ];
  if (bytesPerSecond !== null) parts.push(`${formatBytes(bytesPerSecond)}/s`);
  if (etaSeconds !== null) parts.push(`about ${durationText(etaSeconds)} left`);
  return parts.join('  ');
}

export function progressBar(ratio: number): string {
  const done = Math.floor(ratio * BAR_CELLS);
  if (done >= BAR_CELLS) return `[${'='.repeat(BAR_CELLS)}]`;
  return `[${'='.repeat(done)}>${'.'.repeat(BAR_CELLS - done - 1)}]`;
}

/** 5 -> `5 s`, 90 -> `1 min 30 s`, 7300 -> `2 h 1 min`. */
export function durationText(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** dmsetup: bare lines for one device, `name: ` before each line of many. */
export function dmLines(report: LinesReport, isOne: boolean): string[] {
  return report.devices.flatMap(({ name, lines }) =>
    lines.map((line) => (isOne ? line : `${name}: ${line}`)),
  );
}

export function infoLines(devices: readonly DeviceInfo[]): string[] {
  if (devices.length === 0) return ['no devices'];
  return devices.flatMap((device, i) => {
    const rows = [
      ['Name:', device.name],
      ['State:', device.state + (device.readOnly ? ' (READ-ONLY)' : '')],
      ['Open count:', String(device.openCount)],
      ['Event number:', String(device.eventNr)],
      ['Number of targets:', String(device.targets)],
      ['Size:', sizeWithSectors(device.sizeBytes)],
      ['URI:', device.uri ?? '-'],
      ['Made by:', device.source],
    ];
    return (i === 0 ? [] : ['']).concat(columns(rows));
  });
}

function sizeWithSectors(sizeBytes: number | null): string {
  if (sizeBytes === null) return 'unknown';
  return `${formatBytes(sizeBytes)} (${sizeBytes / bytesOfSectors(1)} sectors)`;
}

/** `status --check`: the worst device decides; the worst comes first. */
const CHECK_EXITS: readonly (readonly [DeviceState, number])[] = [
  ['failed', 12],
  ['suspended', 10],
  ['degraded', 10],
  ['resyncing', 11],
  ['in-sync', 0],
];

export function checkExit(devices: readonly DeviceStatus[]): number {
  const worst = CHECK_EXITS.find(([state]) => devices.some((device) => device.state === state));
  return worst?.[1] ?? 0;
}

function sizeOf(bytes: number | null): string {
  return bytes === null ? 'unknown size' : formatBytes(bytes);
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
