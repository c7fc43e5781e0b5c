/** Legs that are out come back by themselves when their devices do. */
import { lstat } from 'node:fs/promises';
import type { Log } from '../../core/base/ports.ts';
import type { LegStatus } from '../../core/control/status.ts';
import { reasonOf } from '../system-error.ts';
import type { LegChanges } from './leg-changes.ts';
import type { Runner } from './runner.ts';

export interface ReturnPolicy {
  /** False: only an operator takes a leg in again. */
  readonly isAutomatic: boolean;
  /** From the failure to the first try; each try that fails doubles it. */
  readonly delayMs: number;
}

export const DEFAULT_RETURN: ReturnPolicy = { isAutomatic: true, delayMs: 10_000 };

/** Tries without luck before a leg stays out: with the default delay some 40 minutes. */
const TRIES = 8;
/** A leg that has been in sync for so long starts afresh. */
const FORGIVEN_MS = 3_600_000;

interface Trial {
  tries: number;
  /** In performance.now()'s time. */
  nextMs: number;
  /** Since when it is in sync; null: it is not. */
  goodSinceMs: number | null;
  /** Why the last try was refused. */
  refusal: string | null;
}

/**
 * Looks at the legs now and then; takes in again those that failed, were missing or are stale, but
 * none that an operator has failed. A leg whose file is not there costs no try.
 */
export class LegReturn {
  private readonly name: string;
  private readonly runner: Runner;
  private readonly changes: LegChanges;
  private readonly policy: ReturnPolicy;
  private readonly log: Log;
  private readonly trials = new Map<string, Trial>();
  private timer: NodeJS.Timeout | null = null;
  private stopped = false;

  constructor(name: string, runner: Runner, changes: LegChanges, policy: ReturnPolicy, log: Log) {
    this.name = name;
    this.runner = runner;
    this.changes = changes;
    this.policy = policy;
    this.log = log;
  }

  /** A leg may be out: begins to look, if it does not yet. */
  wake(): void {
    if (this.stopped || !this.policy.isAutomatic) return;
    this.timer ??= setTimeout(() => void this.look(), this.pauseMs()).unref();
  }

  stop(): void {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
  }

  /** What people should know of a leg that is out: when it is tried again, or why not. */
  noteOf({ leg, state, failedByHand }: LegStatus): string | null {
    const trial = this.trials.get(leg);
    if (trial === undefined || failedByHand || isIn(state)) return null;
    const refused = trial.refusal === null ? '' : `, the last was refused: ${trial.refusal}`;
    if (trial.tries >= TRIES) {
      return `stays out after ${TRIES} tries${refused}; dmio leg re-add ${this.name} ${leg} tries again`;
    }
    const seconds = Math.max(0, Math.ceil((trial.nextMs - performance.now()) / 1000));
    const after = trial.tries === 0 ? '' : ` after ${trial.tries}`;
    return `next try in ${seconds} s${after}${refused}`;
  }

  private pauseMs(): number {
    return Math.min(1000, Math.max(50, this.policy.delayMs / 4));
  }

  private async look(): Promise<void> {
    try {
      const { legs } = await this.runner.call('snapshot', null);
      this.forget(legs);
      for (const leg of legs) if (!this.stopped) await this.consider(leg);
      this.timer = null;
      const isWaiting = legs.some((leg) => !isIn(leg.state) || this.trials.has(leg.leg));
      if (isWaiting) this.wake();
    } catch (error) {
      // The device is going away, or its thread has ended: there is nothing to look at.
      this.timer = null;
      this.log.warn({ device: this.name, why: reasonOf(error) }, 'legs are not looked after');
    }
  }

  private async consider({ leg, state, failedByHand }: LegStatus): Promise<void> {
    const now = performance.now();
    const trial = this.trials.get(leg);
    if (isIn(state)) {
      if (trial === undefined) return;
      trial.goodSinceMs = state === 'in-sync' ? (trial.goodSinceMs ?? now) : null;
      const isForgiven = trial.goodSinceMs !== null && now - trial.goodSinceMs > FORGIVEN_MS;
      if (isForgiven) this.trials.delete(leg);
      return;
    }
    if (failedByHand) {
      this.trials.delete(leg);
      return;
    }
    if (trial === undefined) {
      this.trials.set(leg, { tries: 0, nextMs: now + this.policy.delayMs, ...NOTHING_YET });
      return;
    }
    trial.goodSinceMs = null;
    if (trial.tries >= TRIES || now < trial.nextMs) return;
    if (await isThere(leg)) await this.tryOnce(leg, trial);
    else trial.nextMs = now + this.policy.delayMs;
  }

  private async tryOnce(leg: string, trial: Trial): Promise<void> {
    trial.tries += 1;
    trial.refusal = null;
    try {
      await this.changes.readd(leg, false);
      this.log.info({ device: this.name, leg, tries: trial.tries }, 'leg is back by itself');
    } catch (error) {
      trial.refusal = reasonOf(error);
      this.log.warn({ device: this.name, leg, why: trial.refusal }, 'leg does not come back');
    }
    trial.nextMs = performance.now() + this.policy.delayMs * 2 ** trial.tries;
  }

  /** Legs that have been removed. */
  private forget(legs: readonly LegStatus[]): void {
    for (const leg of this.trials.keys()) {
      if (!legs.some((one) => one.leg === leg)) this.trials.delete(leg);
    }
  }
}

const NOTHING_YET = { goodSinceMs: null, refusal: null };

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}

function isIn(state: LegStatus['state']): boolean {
  return state === 'in-sync' || state === 'resyncing';
}
