import type { NegotiableExport } from '../nbd/directory.ts';

/**
 * An export as its server sees it, wherever its data is moved: an `Export` in this thread, or one
 * that lives in a thread of its own and takes its clients over after the handshake.
 */
export interface Offer extends NegotiableExport {
  readonly readOnly: boolean;
  /** The smallest unit its legs write without reading first. */
  readonly logicalBlockBytes: number;
  /** Clients in transmission. */
  readonly connections: number;
  /** 0 only when no request is with the device. */
  readonly requestsInFlight: number;
  /**
   * From now on new requests are answered ESHUTDOWN and new clients ERR_SHUTDOWN. Fulfilled when
   * no request is with the device any more; replies may still be on their way to clients.
   */
  beginShutdown(): Promise<void>;
}
