/** Scrub, resync and events as lines for people. Pure. */
import { bytesOfSectors, formatBytes } from '../core/base/units.ts';
import type {
  EventStatus,
  LegStatus,
  ResyncReport,
  ScrubMismatch,
  ScrubStatus,
} from '../core/control/status.ts';
import { plural, progressParts } from './text.ts';

/** Positions printed; `--json` has up to a thousand. */
const SHOWN = 20;

/** One line: how far, or how it ended, and what was found. */
export function scrubText(scrub: ScrubStatus): string {
  const { state, reason } = scrub;
  const found = foundText(scrub);
  switch (state) {
    case 'running':
      return [...progressParts(scrub), found].join('  ');
    case 'stopped':
      return `stopped after ${formatBytes(scrub.doneBytes)} of ${formatBytes(scrub.totalBytes)}, ${found}`;
    case 'failed':
      return `failed: ${reason ?? 'unknown'}; ${found}`;
    case 'done':
      return `done, ${found}: ${formatBytes(scrub.doneBytes)} compared`;
  }
}

function foundText(scrub: ScrubStatus): string {
  const { mismatchedSectors, mismatchedRanges, repairedSectors, unreadableSectors } = scrub;
  const parts: string[] = [];
  if (mismatchedSectors > 0) {
    const ranges = plural(mismatchedRanges, 'mismatch').replace(/mismatchs$/, 'mismatches');
    parts.push(`${ranges} in ${plural(mismatchedSectors, 'sector')}`);
  } else parts.push('no mismatches');
  if (scrub.repair !== 'none' && mismatchedSectors > 0) {
    const left = mismatchedSectors - repairedSectors;
    parts.push(left === 0 ? 'all repaired' : `${plural(left, 'sector')} not repaired`);
  }
  if (unreadableSectors > 0)
    parts.push(`${plural(unreadableSectors, 'unreadable sector')} rewritten`);
  return parts.join(', ');
}

/** The whole result: the line of `scrubText`, then where. */
export function scrubLines(
  name: string,
  scrub: ScrubStatus | null,
  legs: readonly LegStatus[],
): string[] {
  if (scrub === null) return [`${name}: has not been scrubbed since it was started`];
  const nameOf = (index: number): string => legs[index]?.leg ?? `leg ${index}`;
  const lines = [`${name}: scrub ${scrubText(scrub)}`];
  for (const found of scrub.mismatches.slice(0, SHOWN)) {
    lines.push(`  ${mismatchText(found, nameOf)}`);
  }
  for (const { sector, sectors, leg } of scrub.unreadable.slice(0, SHOWN)) {
    lines.push(`  ${sectorsText(sector, sectors)}: unreadable on ${nameOf(leg)}`);
  }
  const hidden =
    Math.max(0, scrub.mismatchedRanges - SHOWN) + Math.max(0, scrub.unreadable.length - SHOWN);
  if (hidden > 0) lines.push(`  and ${hidden} more (--json lists up to a thousand)`);
  return lines;
}

function mismatchText(found: ScrubMismatch, nameOf: (leg: number) => string): string {
  const sides = found.groups.map((legs) => legs.map(nameOf).join(' = '));
  const end = found.repaired ? ', repaired' : '';
  return `${sectorsText(found.sector, found.sectors)}: ${sides.join(' differs from ')}${end}`;
}

function sectorsText(sector: number, sectors: number): string {
  const range = sectors === 1 ? `sector ${sector}` : `sectors ${sector}-${sector + sectors - 1}`;
  return `${range} (byte ${bytesOfSectors(sector)}, ${formatBytes(bytesOfSectors(sectors))})`;
}

export function resyncLines(report: ResyncReport): string[] {
  const { name, state, resync, minBytesPerSecond, maxBytesPerSecond } = report;
  const highest = maxBytesPerSecond === null ? 'no limit' : `${formatBytes(maxBytesPerSecond)}/s`;
  const limits = `at least ${formatBytes(minBytesPerSecond)}/s, at most ${highest}`;
  if (resync === null) return [`${name}: ${state}, nothing to copy (${limits})`];
  const pause = resync.paused ? '  paused' : '';
  return [`${name}: ${progressParts(resync).join('  ')}${pause} (${limits})`];
}

export function eventLine({ time, device, eventNr, message }: EventStatus): string {
  return `${time}  ${device}  ${eventNr}  ${message}`;
}
