import type { Export } from '../../core/export/export.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import type { Log } from '../../core/base/ports.ts';
import type { ListenAddress } from './address.ts';

export interface NbdServerOptions {
  readonly exports: ExportTable;
  readonly log?: Log;
  /** Memory for payloads of all connections, a power of two, >= 64 MiB (the default). */
  readonly arenaBytes?: number;
  /** A client that has not reached transmission by then is dropped. Default 10 s. */
  readonly handshakeTimeoutMs?: number;
  /** Connections at one time, all listeners together. Default 256. */
  readonly maxConnections?: number;
}

/** A client in transmission, for `status` and for those who ask whether an export is busy. */
export interface ConnectionInfo {
  readonly peer: string;
  readonly exportName: string;
  readonly connectedSinceMs: number;
}

/** Serves the exports of a table on any number of listeners. */
export class NbdServer {
  constructor(options: NbdServerOptions) {
    void options;
  }

  /**
   * Returns the address as bound (port 0 becomes the port taken).
   * @throws ListenError one line that says why not
   */
  listen(address: ListenAddress): Promise<ListenAddress> {
    return Promise.resolve(address);
  }

  /** Serves one client on stdin and stdout; fulfilled when it is gone. */
  serveStdio(): Promise<void> {
    return Promise.resolve();
  }

  connectionsOf(one: Export): readonly ConnectionInfo[] {
    void one;
    return [];
  }

  /**
   * Takes an export away: new clients do not find it, requests are answered ESHUTDOWN, those in
   * flight end (waited for at most `drainMs`), its connections close. False: there was none.
   */
  removeExport(name: string, drainMs?: number): Promise<boolean> {
    void drainMs;
    return Promise.resolve(name === '');
  }

  /** Ends everything: no new clients, ESHUTDOWN, drain for at most `drainMs`, then disconnect. */
  close(drainMs?: number): Promise<void> {
    void drainMs;
    return Promise.resolve();
  }
}
