/** Something happens to devices now and then; whoever waits for a certain thing looks again then. */
export class Changes {
  private count = 0;
  private readonly waiters = new Set<() => void>();

  /** Who waits looks again when the caller is done. */
  happened(): void {
    this.count += 1;
    const waiters = [...this.waiters];
    this.waiters.clear();
    for (const wake of waiters) setImmediate(wake);
  }

  /**
   * What `look` finds, now or after a change; null: nothing within `limitMs` (Infinity is allowed), or
   * before the signal. It looks once in any case; what it throws ends the wait.
   */
  async until<T>(
    look: () => T | null | Promise<T | null>,
    limitMs: number,
    signal: AbortSignal,
  ): Promise<T | null> {
    const endMs = performance.now() + limitMs;
    for (;;) {
      const { count } = this;
      const found = await look();
      const leftMs = endMs - performance.now();
      if (found !== null || leftMs <= 0 || signal.aborted) return found;
      // What happened while it looked is looked at, too.
      if (count === this.count) await this.next(leftMs, signal);
    }
  }

  private next(timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((woken) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        this.waiters.delete(wake);
        woken();
      };
      // setTimeout's own limit; who waits longer looks once every 24 days.
      const timer = setTimeout(wake, Math.min(timeoutMs, 2 ** 31 - 1));
      signal.addEventListener('abort', wake);
      this.waiters.add(wake);
    });
  }
}
