import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { Offer } from '../../core/export/offer.ts';
import type { Agreement } from '../../core/nbd/agreement.ts';

/** A client that is served elsewhere now. */
export interface TakenClient {
  /** Take no more from it, answer what it asked for, then close. */
  hangUp(): void;
  /** `NodeConnection.standDown`, there. */
  standDown(): void;
}

/** Standing down: looks whether the client has gone quiet, so often and so many times at most. */
export const STAND_DOWN = { LOOK_MS: 10, LOOKS: 100 } as const;

/** An export that lives in another thread, and takes its clients' sockets after the handshake. */
export interface SocketTaker extends Offer {
  /**
   * Takes a client over, with what it has negotiated. Its descriptors are duplicated before this
   * returns, and stay the caller's to close; `early`: what the client has sent already. `ended` is
   * called once, when the client is gone.
   */
  take(
    fds: ClientFds,
    early: Uint8Array,
    agreed: Agreement,
    ended: (why: string) => void,
  ): TakenClient;
}

/** Where a client's bytes come from and go to: one socket, or two pipes. */
export interface ClientFds {
  readonly input: number;
  readonly output: number;
}

export function takesSockets(offer: Offer): offer is SocketTaker {
  return 'take' in offer;
}

/** The descriptors of a pair of open streams; undefined: one is closed, or has none. */
export function fdsOf(input: Readable, output: Writable): ClientFds | undefined {
  if (!(input instanceof Socket) || !(output instanceof Socket)) return undefined;
  const fds = { input: fdOf(input), output: fdOf(output) };
  return fds.input === undefined || fds.output === undefined
    ? undefined
    : { input: fds.input, output: fds.output };
}

/** The descriptor of an open socket; undefined when it is closed. Node shows it to nobody else. */
export function fdOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as unknown as {
    readonly _handle: { readonly fd?: number } | null;
  };
  const fd = handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
