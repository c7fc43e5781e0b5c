import { assert } from '../base/assert.ts';
import type { Timer } from '../base/ports.ts';
import { bytesOfSectors } from '../base/units.ts';
import { STANDING, type Leg } from './leg.ts';
import { DEPTH_IDLE, type ResyncPace } from './resync-pace.ts';
import { RecentSpeed } from './resync-speed.ts';
import { describeMismatch, ScrubFindings } from './scrub-report.ts';
import type { Mismatch, ScrubPlace, ScrubRepair, ScrubState, ScrubStatus } from './scrub-report.ts';
import { ScrubRegion, type CheckOutcome } from './scrub-region.ts';
import type { MirrorSet } from './set.ts';

/** Mismatches of one scrub that become events of their own; the rest is in the last one's count. */
const EVENTS_EACH = 16;
/** A crash costs no more of a scrub than this. */
const REMEMBER_MS = 60_000;

/** Why a scrub cannot begin. */
export type ScrubRefusal = 'running' | 'no-second-leg' | 'no-majority' | 'leg-not-in-sync';

/**
 * Compares what the members hold, region by region, while clients go on. Law: it never guesses. A
 * difference is settled by more than half of the legs that were read, or by the leg the operator
 * named; else it is reported and left.
 *
 * The place is remembered: a scrub that was stopped goes on from there; with the native log also over a
 * restart, for every superblock has it, and one is written each minute while a scrub runs.
 */
export class Scrub {
  /** What to do about a difference. */
  repair: ScrubRepair = 'none';
  findings = new ScrubFindings();
  private readonly set: MirrorSet;
  private readonly pace: ResyncPace;
  private readonly regions: ScrubRegion[] = [];
  private readonly speed = new RecentSpeed();
  /** The legs by their numbers when it was begun: findings and `repair` speak of them. */
  private numbered: readonly Leg[] = [];
  private state: ScrubState | null = null;
  private reason: string | null = null;
  /** The next region; all before it are checked or under way. */
  private cursor = 0;
  private active = 0;
  private later: Timer | null = null;
  private eventsLeft = 0;
  private quitting: (() => void) | null = null;
  /** The set is suspended. */
  private paused = false;
  private whenPaused: (() => void) | null = null;
  private rememberedMs = 0;

  /** `before`: where an earlier run of the set has left one. */
  constructor(set: MirrorSet, pace: ResyncPace, before: ScrubPlace | null) {
    this.set = set;
    this.pace = pace;
    if (before !== null) this.restore(before);
  }

  private restore(before: ScrubPlace): void {
    const { repair } = before;
    const slot = typeof repair === 'string' ? null : repair.fromSlot;
    const leg = this.set.legs.find((each) => each.slot === slot);
    // The leg that was to repair has left: another must be named.
    if (typeof repair !== 'string' && leg === undefined) return;
    if (before.region > this.set.regions) return;
    this.repair = typeof repair === 'string' ? repair : { fromLeg: leg?.index ?? 0 };
    this.cursor = before.region;
    this.findings.restore(
      before,
      Math.min(this.set.sectors, before.region * this.set.regionSectors),
    );
    this.numbered = [...this.set.legs];
    this.eventsLeft = EVENTS_EACH;
    this.state = 'stopped';
  }

  /** What is to be remembered; null: nothing runs, or was left. */
  place(): ScrubPlace | null {
    if (this.state !== 'running' && this.state !== 'stopped') return null;
    const { repair, findings } = this;
    const leg = typeof repair === 'string' ? undefined : this.numbered[repair.fromLeg];
    if (typeof repair !== 'string' && leg === undefined) return null;
    let region = this.cursor;
    for (const each of this.regions) if (each.isBusy && each.region < region) region = each.region;
    const { mismatchedSectors, repairedSectors, unreadableSectors, ranges } = findings;
    return {
      repair: typeof repair === 'string' ? repair : { fromSlot: leg?.slot ?? 0 },
      region,
      mismatchedSectors,
      repairedSectors,
      unreadableSectors,
      ranges,
    };
  }

  /** Once a minute the record has where it is, if the record is where a restart finds that. */
  private remember(): void {
    const nowMs = this.set.clock.nowMs();
    if (nowMs - this.rememberedMs < REMEMBER_MS) return;
    this.rememberedMs = nowMs;
    if (this.set.regionLog.store?.keepsLacks !== true) return;
    this.set.journal.changedQuietly({ needVersion: 0, recorded: () => undefined });
  }

  get isRunning(): boolean {
    return this.state === 'running';
  }

  /** The set ends: regions under way end as soon as they can. */
  get isQuitting(): boolean {
    return this.quitting !== null;
  }

  /** null: it has begun. Goes on from where the same kind of scrub was stopped, unless `anew`. */
  begin(repair: ScrubRepair, anew: boolean): ScrubRefusal | null {
    const refusal = this.refusal(repair);
    if (refusal !== null) return refusal;
    const isSame = JSON.stringify(repair) === JSON.stringify(this.repair);
    if (anew || this.state !== 'stopped' || !isSame || this.isRenumbered) {
      this.findings = new ScrubFindings();
      this.cursor = 0;
      this.eventsLeft = EVENTS_EACH;
    }
    this.repair = repair;
    this.numbered = [...this.set.legs];
    this.reason = null;
    this.state = 'running';
    this.rememberedMs = this.set.clock.nowMs();
    if (!this.set.recovery.isRunning) this.pace.begin();
    this.speed.begin(this.set.clock.nowMs(), bytesOfSectors(this.findings.checkedSectors));
    const what = repair === 'none' ? 'scrub' : 'scrub with repair';
    const where = this.cursor === 0 ? '' : `, from region ${String(this.cursor)} on`;
    this.set.emit('scrub-started', null, `${what} started${where}`);
    this.fill();
    return null;
  }

  /** Keeps the place; regions under way are checked to their end. False: none runs. */
  stop(): boolean {
    if (this.state !== 'running') return false;
    this.finish('stopped', null);
    return true;
  }

  /** Nothing new is begun until `resume`; `done` when the regions under way have ended. */
  pause(done: () => void): void {
    assert(!this.paused, 'a scrub was paused twice');
    this.paused = true;
    this.later?.cancel();
    this.later = null;
    this.whenPaused = done;
    this.endIfHalted();
  }

  resume(): void {
    assert(this.paused && this.whenPaused === null, 'a scrub was resumed that was not paused');
    this.paused = false;
    this.fill();
  }

  /** The set ends: no more regions; `done` when those under way have ended. For good. */
  quit(done: () => void): void {
    assert(this.quitting === null, 'a scrub was ended twice');
    this.quitting = done;
    if (this.state === 'running') this.finish('stopped', null);
    this.endIfHalted();
  }

  mismatch(found: Mismatch, findings: ScrubFindings): void {
    findings.addMismatch(found);
    if (findings !== this.findings || this.eventsLeft === 0) return;
    this.eventsLeft -= 1;
    const words = describeMismatch(found, (leg) => this.set.legs[leg]?.name ?? String(leg));
    const end = found.repaired ? ' (repaired)' : '';
    this.set.emit('scrub-mismatch', null, `${words}${end}`);
  }

  regionChecked(region: ScrubRegion, outcome: CheckOutcome): void {
    this.active -= 1;
    if (outcome === 'unsettled') this.skipped(region.region);
    this.speed.note(this.set.clock.nowMs(), bytesOfSectors(this.findings.checkedSectors));
    if (this.state === 'running') this.remember();
    if (this.state === 'running') this.fill();
    this.dropIfIdle();
    this.endIfHalted();
  }

  /** null: none has run in the life of this set. */
  status(): ScrubStatus | null {
    if (this.state === null) return null;
    const { findings, repair } = this;
    findings.sort();
    const doneBytes = bytesOfSectors(findings.checkedSectors);
    const totalBytes = bytesOfSectors(this.set.sectors);
    const isRunning = this.state === 'running';
    const speed = isRunning ? this.speed.bytesPerSecond(this.set.clock.nowMs(), doneBytes) : null;
    const left = Math.max(0, totalBytes - doneBytes);
    return {
      state: this.state,
      reason: this.reason,
      repair: typeof repair === 'string' ? repair : 'from-leg',
      fromLeg: typeof repair === 'string' ? null : repair.fromLeg,
      doneBytes: Math.min(doneBytes, totalBytes),
      totalBytes,
      bytesPerSecond: speed,
      etaSeconds: speed === null || speed === 0 ? null : Math.ceil(left / speed),
      mismatchedSectors: findings.mismatchedSectors,
      repairedSectors: findings.repairedSectors,
      unreadableSectors: findings.unreadableSectors,
      mismatchedRanges: findings.ranges,
      mismatches: [...findings.mismatches],
      unreadable: [...findings.unreadable],
    };
  }

  private refusal(repair: ScrubRepair): ScrubRefusal | null {
    if (this.state === 'running') return 'running';
    const members = this.set.legs.filter((leg) => leg.standing === STANDING.MEMBER);
    if (members.length < 2) return 'no-second-leg';
    if (repair === 'majority' && members.length < 3) return 'no-majority';
    const isNamed = typeof repair !== 'string';
    if (isNamed && !members.some((leg) => leg.index === repair.fromLeg)) return 'leg-not-in-sync';
    return null;
  }

  private fill(): void {
    while (this.mayBegin()) {
      const problem = this.problem();
      if (problem !== null) {
        this.finish('failed', problem);
        return;
      }
      if (this.cursor >= this.set.regions) {
        if (this.active === 0) this.finish('done', null);
        return;
      }
      const region = this.cursor;
      const waitMs = this.pace.book(bytesOfSectors(this.set.sectorsOfRegion(region)));
      if (waitMs > 0) {
        this.later = this.set.clock.after(waitMs, () => {
          this.later = null;
          this.fill();
        });
        return;
      }
      this.cursor += 1;
      this.active += 1;
      this.freeRegion().start(region);
    }
  }

  private get isRenumbered(): boolean {
    return this.numbered.some((leg, i) => this.set.legs[i] !== leg);
  }

  private mayBegin(): boolean {
    if (this.state !== 'running' || this.paused || this.later !== null) return false;
    return this.active < this.pace.depth;
  }

  /** What has changed such that going on makes no sense; null: nothing. */
  private problem(): string | null {
    const { repair } = this;
    const members = this.set.legs.filter((leg) => leg.standing === STANDING.MEMBER);
    if (members.length < 2) return 'fewer than two legs are in sync';
    if (this.isRenumbered) return 'a leg has been taken out of the mirror';
    if (typeof repair === 'string') return null;
    const isThere = members.some((leg) => leg.index === repair.fromLeg);
    return isThere ? null : 'the leg to repair from is not in sync any more';
  }

  private freeRegion(): ScrubRegion {
    let free = this.regions.find((region) => !region.isBusy);
    if (free === undefined) {
      assert(this.regions.length < DEPTH_IDLE, 'more regions are scrubbed than the pace allows');
      free = new ScrubRegion(this.set, this);
      this.regions.push(free);
    }
    return free;
  }

  private finish(state: 'stopped' | 'done' | 'failed', reason: string | null): void {
    this.state = state;
    this.reason = reason;
    this.later?.cancel();
    this.later = null;
    this.set.emit('scrub-ended', null, `scrub ${this.endWords(state)}: ${this.summary()}`);
    this.dropIfIdle();
  }

  private endWords(state: 'stopped' | 'done' | 'failed'): string {
    if (state === 'failed') return `failed (${this.reason ?? ''})`;
    return state === 'done' ? 'ended' : 'stopped';
  }

  private summary(): string {
    const { ranges, mismatchedSectors, repairedSectors, unreadableSectors } = this.findings;
    if (mismatchedSectors === 0 && unreadableSectors === 0) return 'no mismatches';
    const parts = [`${ranges} mismatches in ${mismatchedSectors} sectors`];
    if (this.repair !== 'none') parts.push(`${repairedSectors} sectors repaired`);
    if (unreadableSectors > 0) parts.push(`${unreadableSectors} sectors unreadable on some leg`);
    return parts.join(', ');
  }

  /** Nobody could settle it: recovery goes on trying, there is nothing to compare. */
  private skipped(region: number): void {
    const sector = region * this.set.regionSectors;
    const sectors = this.set.sectorsOfRegion(region);
    for (const { index, standing } of this.set.legs) {
      if (standing === STANDING.MEMBER)
        this.findings.addUnreadable({ sector, sectors, leg: index });
    }
  }

  private dropIfIdle(): void {
    if (this.active > 0 || this.state === 'running') return;
    for (const region of this.regions) region.drop();
  }

  private endIfHalted(): void {
    if (this.active > 0) return;
    const { quitting, whenPaused } = this;
    this.quitting = null;
    this.whenPaused = null;
    quitting?.();
    whenPaused?.();
  }
}
