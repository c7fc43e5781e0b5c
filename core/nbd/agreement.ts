import { REPLY_STYLE, type ReplyStyle } from './chunk.ts';

/** What the handshake has settled for one connection: plain data, for other threads too. */
export interface Agreement {
  readonly style: ReplyStyle;
  /** Selected metadata contexts: bit i is the i-th of the export's `contexts`, whose id is i + 1. */
  readonly contexts: number;
  /** This client may only read, whatever others may. */
  readonly readOnly: boolean;
  /** Payload memory it may hold with more than one request; absent: what its share allows. */
  readonly maxHeldBytes?: number;
}

/** A client that has negotiated nothing but its export. */
export const PLAIN: Agreement = { style: REPLY_STYLE.SIMPLE, contexts: 0, readOnly: false };
