import { at } from './at.ts';
import type { Value } from './content.ts';

/** One write of one sector, as far as the model must remember it. */
export interface Entry {
  readonly value: Value;
  /** If it ever took effect, it had by then; Infinity while the write goes on. */
  knownBy: number;
  /** Since then the sector certainly holds something later; Infinity: it may hold this one. */
  removedAt: number;
  removedBy: 'nothing' | 'acknowledgement' | 'read';
  /** Something later is durable: not even a power cut brings this one back. */
  dropped: boolean;
  /** Its life was decided by a crash, not by an answer: 0, or the number of the crash. */
  crash: number;
  /** It was there at a power cut: what is read now is what the platter holds. */
  cut: number;
}

export type Verdict = 'allowed' | 'stale' | 'unseen' | 'flipped' | 'lost' | 'invented';

/**
 * The specification. A sector is a register; each write takes effect at one moment between its call
 * and its end, or never if it ended badly or not at all. Whoever learns that the sector held x in
 * [from, to] (x was acknowledged, or read) knows that everything that was certain before `from` is
 * gone for good. A power cut brings back what no flush has sealed. That is all.
 *
 * Times are the world's count of steps.
 */
export class Model {
  readonly sectors: number;
  private readonly entries: Entry[][] = [];
  private crashes = 0;

  constructor(sectors: number, first: Value) {
    this.sectors = sectors;
    for (let i = 0; i < sectors; i += 1) this.entries.push([makeEntry(first, 0)]);
  }

  /** A write of the sector has been called. */
  written(sector: number, value: Value): Entry {
    const entry = makeEntry(value, Infinity);
    at(this.entries, sector).push(entry);
    return entry;
  }

  /** It ended well; with `durable` it survives a power cut from now on. */
  acknowledged(sector: number, entry: Entry, from: number, now: number, durable: boolean): void {
    entry.knownBy = Math.min(entry.knownBy, now);
    for (const other of at(this.entries, sector)) {
      if (other === entry || other.knownBy >= from) continue;
      remove(other, now, 'acknowledgement');
      if (durable) other.dropped = true;
    }
  }

  /** It ended badly, or may have changed nothing (DISCARD): it is there, or it is not. */
  undecided(entry: Entry, now: number): void {
    entry.knownBy = Math.min(entry.knownBy, now);
  }

  /** It is certain that it never took effect, and never will. */
  withdrawn(sector: number, entry: Entry): void {
    const entries = at(this.entries, sector);
    const index = entries.indexOf(entry);
    if (index >= 0) entries.splice(index, 1);
  }

  /** The daemon has died with this write under way. */
  cutShort(entry: Entry, now: number): void {
    this.undecided(entry, now);
    entry.crash = this.crashes + 1;
  }

  daemonDied(): void {
    this.crashes += 1;
  }

  /**
   * What was not sealed by a flush may be back, and nobody knows. Not `ofAll`: of the server of one leg.
   * The caches of the others are as full as before, so what is read then need not be on every platter.
   */
  powerCut(now: number, ofAll = true): void {
    this.crashes += 1;
    for (const entries of this.entries) {
      let newest = 0;
      for (const entry of entries) {
        entry.cut = ofAll ? this.crashes : 0;
        if (entry.dropped) continue;
        entry.knownBy = now;
        entry.removedAt = Infinity;
        entry.removedBy = 'nothing';
        entry.crash = this.crashes;
        newest += 1;
      }
      if (newest === 0) throw new Error('model: a sector that can hold nothing');
    }
  }

  /** A flush that failed has lost what it was to seal: as a power cut, but the daemon lives. */
  flushFailed(now: number): void {
    for (const entries of this.entries) {
      for (const entry of entries) {
        if (entry.dropped || entry.removedAt === Infinity) continue;
        entry.knownBy = now;
        entry.removedAt = Infinity;
        entry.removedBy = 'nothing';
      }
    }
  }

  /** A flush called at `from` has ended well. */
  flushed(from: number, oldestRead: number): void {
    for (const entries of this.entries) {
      for (const entry of entries) if (entry.removedAt < from) entry.dropped = true;
      prune(entries, oldestRead);
    }
  }

  /** May a read called at `from` return it? Then it is known that the sector held it. */
  read(sector: number, value: Value, from: number, now: number): Verdict {
    const entries = at(this.entries, sector);
    const verdict = judge(entries, value, from);
    if (verdict !== 'allowed') return verdict;
    const [only] = entries;
    if (entries.length === 1 && only !== undefined) {
      only.knownBy = Math.min(only.knownBy, now);
      return 'allowed';
    }
    // Zeros may have been written again since the cut: then this may be the later ones.
    const same = entries.filter((e) => e.value === value && e.removedAt >= from);
    const isFromCut = same.every((entry) => entry.cut > 0);
    // Certain before the call, so in force since then; else it may have come during the read.
    const certain = Math.max(...same.map((entry) => entry.knownBy));
    for (const entry of entries) {
      if (entry.value === value) {
        if (same.length === 1 && entry === same[0]) entry.knownBy = Math.min(entry.knownBy, now);
        continue;
      }
      const gone = certain < from ? Math.max(certain, entry.knownBy) : now;
      if (entry.knownBy < from) remove(entry, gone, 'read');
      // What is read after a power cut is on the platter (I6): a second cut changes nothing.
      if (isFromCut && entry.cut > 0 && entry.knownBy < from) entry.dropped = true;
    }
    return 'allowed';
  }

  /** Might a read called at `from` have returned it by now? Nothing is learnt. */
  mayHaveHeld(sector: number, value: Value, from: number): boolean {
    return judge(at(this.entries, sector), value, from) === 'allowed';
  }

  /** The values a read called now may return. */
  allows(sector: number, value: Value): boolean {
    for (const e of at(this.entries, sector)) {
      if (e.value === value && e.removedAt === Infinity) return true;
    }
    return false;
  }

  /** The values a read may return after a power cut now. */
  allowsAfterCut(sector: number, value: Value): boolean {
    for (const e of at(this.entries, sector)) if (e.value === value && !e.dropped) return true;
    return false;
  }

  /** For messages. */
  describe(sector: number): string {
    const recent = at(this.entries, sector).slice(-6);
    const words = recent.map((entry) => {
      const gone = entry.removedAt === Infinity ? '' : ` until ${entry.removedAt}`;
      return `${entry.value}${gone}${entry.dropped ? ' dropped' : ''}`;
    });
    return `[${words.join(', ')}]`;
  }
}

function judge(entries: readonly Entry[], value: Value, from: number): Verdict {
  let verdict: Verdict = 'invented';
  for (const entry of entries) {
    if (entry.value !== value) continue;
    if (entry.removedAt >= from) return 'allowed';
    if (entry.removedBy === 'read') verdict = entry.crash > 0 ? 'flipped' : 'unseen';
    else verdict = entry.dropped && entry.cut > 0 ? 'lost' : 'stale';
  }
  return verdict;
}

function makeEntry(value: Value, knownBy: number): Entry {
  return {
    value,
    knownBy,
    removedAt: Infinity,
    removedBy: 'nothing',
    dropped: false,
    crash: 0,
    cut: 0,
  };
}

function remove(entry: Entry, now: number, by: Entry['removedBy']): void {
  if (entry.removedAt !== Infinity) return;
  entry.removedAt = now;
  entry.removedBy = by;
}

/** Forgets what no read under way may return and no power cut bring back; keeps the last few for messages. */
function prune(entries: Entry[], oldestRead: number): void {
  const KEPT = 6;
  while (entries.length > KEPT) {
    const index = entries.findIndex((e) => e.dropped && e.removedAt < oldestRead);
    if (index < 0) return;
    entries.splice(index, 1);
  }
}
