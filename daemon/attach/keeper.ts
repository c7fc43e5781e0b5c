/** Keeps one attached device connected: whatever kills a connection, the kernel gets a new one. */
import { errnoName, ERRNO } from '../../core/base/errno.ts';
import type { Log } from '../../core/base/ports.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import type { NbdServer } from '../net/server.ts';
import { openLink } from './link.ts';
import type { Link } from './link.ts';
import { reconfigure } from './kernel-nbd.ts';
import { nbdPath } from './nbd-block.ts';
import type { NbdBlocks } from './nbd-block.ts';
import type { AttachedDevice } from './record.ts';

/** A connection that is lost again and again is made anew ever more slowly. */
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 5000;
/** A connection that has held so long was a good one. */
const CALM_MS = 30_000;

export interface KeeperOptions {
  readonly server: NbdServer;
  readonly exports: ExportTable;
  readonly blocks: NbdBlocks;
  readonly log: Log;
}

export class Keeper {
  attached: AttachedDevice;
  private readonly options: KeeperOptions;
  private timer: NodeJS.Timeout | null = null;
  private pauseMs = FIRST_PAUSE_MS;
  private connectedAtMs = 0;
  private working = false;
  private stopped = false;

  constructor(attached: AttachedDevice, options: KeeperOptions) {
    this.attached = attached;
    this.options = options;
  }

  /** Somebody's connection has ended, or may have: looks in a moment, once for all that end now. */
  check(): void {
    if (this.stopped || this.timer !== null || this.working) return;
    if (performance.now() - this.connectedAtMs > CALM_MS) this.pauseMs = FIRST_PAUSE_MS;
    this.timer = setTimeout(() => {
      this.timer = null;
      void this.reconnect();
    }, this.pauseMs);
    this.pauseMs = Math.min(2 * this.pauseMs, LONGEST_PAUSE_MS);
  }

  stop(): void {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  private async reconnect(): Promise<void> {
    this.working = true;
    const outcome = await this.tryReconnect();
    this.working = false;
    if (outcome === 'again') this.check();
    else if (outcome === 'over') this.stop();
  }

  private async tryReconnect(): Promise<'done' | 'again' | 'over'> {
    const { attached, options } = this;
    const { index, name, pid, connections, sizeBytes } = attached;
    const nbd = nbdPath(index);
    const { log, blocks, exports, server } = options;
    if (blocks.pidOf(index) !== pid) return 'over';
    const missing = connections - server.connectionsFrom(nbd);
    if (missing <= 0) return 'done';
    // A device that failed to start may yet come back; the kernel waits deadSeconds for it.
    if (exports.list().every((one) => one.name !== name)) return 'again';
    const links = await this.openLinks(missing);
    try {
      if (links.length < missing || this.stopped) return 'again';
      if (links.some((link) => link.sizeBytes !== sizeBytes)) {
        log.error({ device: name, nbd, sizeBytes }, 'not connected again: its size has changed');
        return 'over';
      }
      const { timeoutSeconds, deadSeconds } = attached;
      const sockets = links.map(({ fd }) => fd);
      const errno = reconfigure({ index, timeoutSeconds, deadSeconds, sockets });
      if (errno !== ERRNO.OK) {
        log.error({ device: name, nbd, errno: errnoName(errno) }, 'not connected again');
        return errno === ERRNO.EPERM ? 'over' : 'again';
      }
      this.connectedAtMs = performance.now();
      log.info({ device: name, nbd, connections: missing }, 'connected again');
      return 'done';
    } finally {
      // At once: the kernel's replies must not find a reader here.
      for (const link of links) link.release();
    }
  }

  private async openLinks(count: number): Promise<readonly Link[]> {
    const { server } = this.options;
    const { index, name } = this.attached;
    const links: Link[] = [];
    while (links.length < count) {
      const link = await openLink(name, (socket) => {
        void server.serve(socket, socket, nbdPath(index)).then(() => this.check());
      });
      if (link === null) break;
      links.push(link);
    }
    return links;
  }
}
