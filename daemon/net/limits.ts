/** What a server grants its clients at most. `[limits]` of the config file; safe without it. */

export interface ServerLimits {
  /** Connections at one time, all listeners together. */
  readonly maxConnections: number;
  /** Of one client: of an address, or of a user on unix sockets. */
  readonly maxConnectionsPerClient: number;
  /** A client that has not reached transmission by then is dropped. */
  readonly handshakeTimeoutMs: number;
  /**
   * A client that holds payload memory others wait for, and neither reads nor sends for this long,
   * is dropped. While nobody waits, a client may stand still for ever (a suspended guest does).
   */
  readonly stallTimeoutMs: number;
  /** Payload memory one connection may hold with more than one request; undefined: its fair share. */
  readonly maxHeldBytes: number | undefined;
}

export const DEFAULT_LIMITS: ServerLimits = {
  maxConnections: 256,
  maxConnectionsPerClient: 128,
  handshakeTimeoutMs: 10_000,
  stallTimeoutMs: 30_000,
  maxHeldBytes: undefined,
};

/** More would need more memory mapped than a thread should have: a connection's buffer is 256 KiB. */
export const MOST_CONNECTIONS = 4096;
