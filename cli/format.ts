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
import { scrubText } from './format-upkeep.ts';
import { columns, plural, progressParts } from './text.ts';

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
 *     map      ......................d..............................xxxxxxxxxxxxxxxxxxxxxxxxx
 *              . clean, d being written, x out of sync on some leg; a letter is 27 regions
 *     resync   [=============>......]  68.8 %  704 MiB of 1 GiB  120 MiB/s  about 3 s left
 *     scrub    done, no mismatches: 1 GiB compared
 *     leg 0    in-sync    /srv/a.img
 *     leg 1    in-sync    /srv/b.img
 *     leg 2    resyncing  /srv/c.img  320 MiB behind, 1 write error
 *     failure  leg 0 or leg 1 may fail now: the other holds everything
 */
function deviceLines(device: DeviceStatus): string[] {
  const { name, target, legs, sizeBytes, state, regions, resync, scrub, reason } = device;
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
  if (device.regionMap !== null) facts.push(...mapRows(device.regionMap, regions?.total ?? 0));
  if (resync !== null) facts.push(['resync', resyncText(resync)]);
  if (scrub !== null) facts.push(['scrub', scrubText(scrub)]);
  for (const [i, text] of columns(legs.map(legRow)).entries()) {
    facts.push([`leg ${legs[i]?.index ?? i}`, text]);
  }
  if (legs.length > 0 && state !== 'failed') facts.push(['failure', nextFailure(legs)]);
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
    ...attached.map(({ device, name, sizeBytes, connections, mounts, byHand }) => [
      device,
      byHand ? `${name} (by hand)` : name,
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
  if (leg.note !== null) parts.push(leg.note);
  return parts.join(', ');
}

function errorParts({ read, write, flush, resync, timeout = 0 }: LegErrors): string[] {
  const kinds: [number, string][] = [
    [read, 'read error'],
    [write, 'write error'],
    [flush, 'flush error'],
    [resync, 'resync error'],
    [timeout, 'time-out'],
  ];
  return kinds.filter(([count]) => count > 0).map(([count, what]) => plural(count, what));
}

const MAP_LEGEND: Readonly<Record<string, string>> = {
  '.': 'clean',
  _: 'never written',
  d: 'being written',
  '?': 'in doubt',
  x: 'out of sync on some leg',
};

function mapRows(map: string, regions: number): string[][] {
  const letters = Object.entries(MAP_LEGEND).filter(([letter]) => map.includes(letter));
  const legend = letters.map(([letter, meaning]) => `${letter} ${meaning}`).join(', ');
  const each = Math.ceil(regions / Math.max(1, map.length));
  return [
    ['map', map],
    ['', `${legend}; a letter is ${plural(each, 'region')}`],
  ];
}

/** What would happen if another leg failed now. */
function nextFailure(legs: readonly LegStatus[]): string {
  const whole = legs.filter(({ state }) => state === 'in-sync').map(({ index }) => `leg ${index}`);
  const [first] = whole;
  if (first === undefined) {
    return 'no leg is whole: parts are on different legs, and any failure may lose some';
  }
  if (whole.length === 1) return `if ${first} fails now the device fails: no other leg is whole`;
  if (whole.length === 2) return `${whole.join(' or ')} may fail now: the other holds everything`;
  return `all but one of ${whole.join(', ')} may fail now: each holds everything`;
}

function resyncText({ paused, ...progress }: ResyncStatus): string {
  const parts = progressParts(progress);
  if (paused) parts.push('paused: `dmio resync` goes on');
  return parts.join('  ');
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
      ['Tables present:', device.tables.map((table) => table.toUpperCase()).join(' & ') || 'None'],
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
