/** What operators are told of, as hooks and journal see it. */
import type { MirrorEvent, MirrorEventKind } from '../core/mirror/options.ts';

/** Each with its message id for the journal: `journalctl MESSAGE_ID=...`. They never change. */
export const EVENT_IDS = {
  'leg-failed': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a01',
  'leg-in-sync': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a02',
  'resync-started': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a03',
  'resync-ended': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a04',
  'device-died': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a05',
  'leg-added': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a06',
  'leg-re-added': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a07',
  'leg-removed': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a08',
  'scrub-started': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a09',
  'scrub-mismatch': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a0a',
  'scrub-ended': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a0b',
} as const satisfies Readonly<Record<MirrorEventKind | 'device-died', string>>;

export type EventKind = keyof typeof EVENT_IDS;
export const EVENT_KINDS = Object.keys(EVENT_IDS) as [EventKind, ...EventKind[]];

/** The JSON that a hook gets. */
export interface DaemonEvent {
  readonly event: EventKind;
  readonly device: string;
  /** Null: it is about the whole device. */
  readonly leg: string | null;
  /** As in `status` and `wait --event`; null: the event has no number. */
  readonly eventNr: number | null;
  readonly message: string;
  /** ISO 8601 */
  readonly time: string;
}

export function mirrorEvent(
  device: string,
  { kind, leg, eventNr, message }: MirrorEvent,
): DaemonEvent {
  return { event: kind, device, leg, eventNr, message, time: new Date().toISOString() };
}

export function deathEvent(device: string, message: string): DaemonEvent {
  const time = new Date().toISOString();
  return { event: 'device-died', device, leg: null, eventNr: null, message, time };
}
