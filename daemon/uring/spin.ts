import { cpus } from 'node:os';

/** How long to look before sleeping: waking another CPU's idle thread costs 15-20 us. */
export const SPIN_US = 50;

const MAX_SCORE = 32;
const LOSS = 4;
const FIRST_PAUSE = 64;
const LAST_PAUSE = 4096;

/**
 * Whether to look a little longer before sleeping. It pays when the next request comes within the
 * spin, and never when the client shares our CPU: so it is judged by its own success. A loss costs
 * what several wins bring, and a loser pauses for ever longer. An idle plane sleeps: it spins only
 * after it has done something.
 *
 * Asked is for the machine's CPUs, not for those this process may use: one for us and another for
 * the client is what spinning is for.
 */
export class Spin {
  private readonly isPossible = cpus().length > 1;
  private score = 0;
  private pauseTurns = 0;
  private nextPause = FIRST_PAUSE;

  get isWorthIt(): boolean {
    if (!this.isPossible) return false;
    if (this.pauseTurns === 0) return true;
    this.pauseTurns -= 1;
    return false;
  }

  won(): void {
    if (this.score < MAX_SCORE) this.score += 1;
    this.nextPause = FIRST_PAUSE;
  }

  lost(): void {
    this.score -= LOSS;
    if (this.score > 0) return;
    this.score = 0;
    this.pauseTurns = this.nextPause;
    if (this.nextPause < LAST_PAUSE) this.nextPause *= 2;
  }
}
