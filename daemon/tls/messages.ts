/** What the control thread and the TLS thread say to each other. Plain data, cloned. */
import type { TlsCredentials } from './credentials.ts';
import type { ServerTrust } from './server-trust.ts';

/** Who is at the other end, as far as TLS has proved it. */
export interface TlsPeer {
  /** TLSv1.2, TLSv1.3 */
  readonly protocol: string;
  /** Attributes of the certificate's subject, each with its values; null: it has shown none. */
  readonly subject: Readonly<Record<string, readonly string[]>> | null;
  /** The identity of its pre-shared key. */
  readonly psk: string | null;
}

export type ToTls =
  | { readonly kind: 'credentials'; readonly credentials: TlsCredentials }
  | {
      readonly kind: 'client';
      readonly id: number;
      /** The client's socket, and our end of the pair whose other end the control thread has. */
      readonly fd: number;
      readonly innerFd: number;
      /** What the client has sent since STARTTLS was acknowledged. */
      readonly early: Uint8Array;
      readonly timeoutMs: number;
    }
  | { readonly kind: 'abandon'; readonly id: number };

export type FromTls =
  | { readonly kind: 'secured'; readonly id: number; readonly peer: TlsPeer }
  | { readonly kind: 'failed'; readonly id: number; readonly why: string };

/** To and from the thread that is the client of remote legs' servers. */
export type ToTunnel =
  | {
      readonly kind: 'server';
      readonly id: number;
      /** The server's socket, STARTTLS acknowledged, and our end of the pair. */
      readonly fd: number;
      readonly innerFd: number;
      readonly trust: ServerTrust;
    }
  | { readonly kind: 'abandon'; readonly id: number };

/** How the socket behind a tunnel ended. */
export interface Fate {
  /** The server has ended it: its end, or a reset by it, was read on the very socket. */
  readonly byServer: boolean;
  /** One clause; empty: the server closed it without a word. */
  readonly why: string;
}

export type FromTunnel =
  | { readonly kind: 'secured'; readonly id: number }
  /** Before `secured` only. */
  | { readonly kind: 'failed'; readonly id: number; readonly why: string }
  /** Once, after `secured`. */
  | ({ readonly kind: 'ended'; readonly id: number } & Fate);
