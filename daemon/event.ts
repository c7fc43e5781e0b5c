/** The kinds of events, and what the journal knows each by. */
import type { MirrorEventKind } from '../core/mirror/options.ts';

export type EventKind = MirrorEventKind | 'device-created' | 'device-removed' | 'device-failed';

/** Message ids: `journalctl MESSAGE_ID=...`. They never change, and none is used twice. */
export const EVENT_IDS = {
  'leg-failed': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a01',
  'leg-in-sync': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a02',
  'resync-started': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a03',
  'resync-ended': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a04',
  'device-failed': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a05',
  'leg-added': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a06',
  'leg-re-added': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a07',
  'leg-removed': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a08',
  'scrub-started': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a09',
  'scrub-mismatch': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a0a',
  'scrub-ended': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a0b',
  'device-created': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a0c',
  'device-removed': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a0d',
  'log-failed': '6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a0e',
} as const satisfies Readonly<Record<EventKind, string>>;

export const EVENT_KINDS = Object.keys(EVENT_IDS) as [EventKind, ...EventKind[]];
