import { Loop } from '../core/block/loop.ts';

/**
 * A core loop on Node's event loop: completions that wait are run by one setImmediate. Blocking
 * is not possible here (nothing of Node's ends while its thread is blocked), so the sync services
 * need an engine that can wait by itself.
 */
export function createNodeLoop(): Loop {
  const run = (): void => {
    loop.run();
  };
  const loop: Loop = new Loop({
    wake: () => {
      setImmediate(run);
    },
    block: () => false,
  });
  return loop;
}
