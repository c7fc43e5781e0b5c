/**
 * How V8 is to run a process that plays stories. Most of what a story makes is garbage at once, and the world it
 * belongs to is garbage soon after: what V8 takes for long-lived, because it lived through one emptying of the
 * nursery, would keep all that it points to alive. And the processors are busy with stories: no helper threads.
 */
export const FAST: readonly string[] = [
  '--no-allocation-site-pretenuring',
  '--single-threaded',
  '--min-semi-space-size=16',
  '--max-semi-space-size=16',
];
