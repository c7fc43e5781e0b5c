import { fail, type Checker } from './checker.ts';

export const nothingLeft: Checker = {
  name: 'C4',
  sentence:
    'what was under way when its connection ended ends too, and at idle all memory of requests is back',
  idle(world) {
    const host = world.front?.host ?? null;
    if (host === null) return;
    const { arena, target, connections } = host;
    const held: Readonly<Record<string, number>> = {
      'bytes of the arena': arena.usedBytes,
      'waits for the arena': arena.waiters,
      'claims of writes': target.writes.length,
      'requests at the device': target.requestsInFlight,
      'requests of connections': [...connections].reduce(
        (sum, { session }) => sum + (session?.requestsInUse ?? 0),
        0,
      ),
      'connections that are gone': [...connections].filter(({ isGone }) => isGone).length,
      'connections nobody has': target.connections - [...connections].filter(isServed).length,
    };
    for (const [what, count] of Object.entries(held)) {
      if (count !== 0) fail(nothingLeft, `${count} ${what} at idle`);
    }
  },
};

function isServed({ session }: { readonly session: unknown }): boolean {
  return session !== null;
}
