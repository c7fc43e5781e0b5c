/**
 * Lost connections are seen to their end here. What was sent on one may take effect as long as its
 * server has not ended it; README.md has the rule and why it is safe.
 */
import type { Socket } from 'node:net';

import { errorCodeOf } from '../sys/node-errors.ts';
import type { Fate } from '../tls/tunnel.ts';

/** qemu's server closes before its last requests have ended; no disk takes this long over them. */
const SETTLE_MS = 500;
/** The network gave up, not the server: what had reached it is done long before. */
const BLIND_MS = 60_000;

/** Exports with connections that are not at their end, also after their leg was closed: key -> number. */
const unfenced = new Map<string, number>();

export function unfencedOf(key: string): number {
  return unfenced.get(key) ?? 0;
}

/** What is left of a lost connection: nothing more is written to it. */
export type Remains = Socket | 'closed by the server' | 'out of sight';

/** Of a connection behind TLS: its socket says nothing of the server, this does. */
type FateOrNull = Promise<Fate> | null;

/** Fulfilled when nothing that was sent on the connection can take effect any more. */
export async function fence(key: string, remains: Remains, fate: FateOrNull): Promise<void> {
  unfenced.set(key, unfencedOf(key) + 1);
  const closed =
    typeof remains === 'string' ? remains === 'closed by the server' : await drained(remains);
  const closedByServer = fate === null ? closed : (await fate).byServer;
  await new Promise<void>((done) => {
    setTimeout(done, closedByServer ? SETTLE_MS : BLIND_MS).unref();
  });
  const left = unfencedOf(key) - 1;
  if (left > 0) unfenced.set(key, left);
  else unfenced.delete(key);
}

/**
 * Closes our half and reads until the server closes its own: by then it has taken all we sent. False:
 * it was the network that gave up, which says nothing about the server.
 */
export function drained(socket: Socket): Promise<boolean> {
  return new Promise((done) => {
    let verdict = true;
    socket.removeAllListeners('end');
    socket.on('error', (error) => {
      const code = errorCodeOf(error);
      verdict = code === 'ECONNRESET' || code === 'EPIPE';
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => done(verdict));
    if (socket.destroyed) {
      done(false);
      return;
    }
    socket.end();
    socket.resume();
    // It must not keep a daemon alive that has nothing else to do.
    socket.unref();
  });
}
