/** What the control thread and the TLS thread say to each other. Plain data, cloned. */
import type { TlsCredentials } from './credentials.ts';

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
  | { readonly kind: 'abandon'; readonly id: number }
  | { readonly kind: 'close' };

export type FromTls =
  | { readonly kind: 'secured'; readonly id: number; readonly peer: TlsPeer }
  | { readonly kind: 'failed'; readonly id: number; readonly why: string };
