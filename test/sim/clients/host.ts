import type { Prng } from '../../../core/base/prng.ts';
import { Arena } from '../../../core/block/arena.ts';
import type { Bio } from '../../../core/block/bio.ts';
import { Export } from '../../../core/export/export.ts';
import { ExportTable } from '../../../core/export/export-table.ts';
import type { SimClock } from '../clock.ts';
import { checkAfterEnd } from '../checkers/c2-after-end.ts';
import { SlotWatch } from '../checkers/c6-slots.ts';
import type { Daemon } from '../daemon.ts';
import { HostConnection } from './host-connection.ts';
import type { SimWire } from './wire.ts';

const EXPORT_NAME = 'sim';
/** As the daemon: looks at who holds memory that others wait for. */
const LOOK_MS = 1000;
const LOOKS = 3;
/** Connections that are over and still known, for bios that should not be. */
const PARTED_KEPT = 32;

/**
 * What one life of the daemon has above its device: an export, an arena, connections. core/export and
 * core/nbd as they are; the rest is what daemon/net does.
 */
export class Host {
  readonly table = new ExportTable();
  readonly target: Export;
  readonly arena: Arena;
  readonly connections = new Set<HostConnection>();
  readonly clock: SimClock;
  readonly prng: Prng;
  private readonly parted: HostConnection[] = [];
  private readonly looks = new Map<HostConnection, { activity: number; looks: number }>();
  private isLooking = false;
  private isEnding = false;

  constructor(daemon: Daemon, arenaBytes: Uint8Array, clock: SimClock, prng: Prng) {
    this.clock = clock;
    this.prng = prng;
    const { device } = daemon;
    const watch = { clock, stats: daemon.clients };
    this.target = new Export({ name: EXPORT_NAME, device, watch, description: 'a mirror' });
    this.table.add(this.target);
    this.arena = new Arena(arenaBytes, daemon.loop);
    new SlotWatch(this.arena).begin();
    const submit = device.submit.bind(device);
    device.submit = (bio: Bio): void => {
      checkAfterEnd(this.parted, bio);
      submit(bio);
    };
  }

  accept(wire: SimWire): HostConnection {
    const connection = new HostConnection(this, wire);
    this.connections.add(connection);
    return connection;
  }

  /** After each event. */
  tick(): void {
    for (const connection of this.connections) {
      if (!connection.isOver) continue;
      this.connections.delete(connection);
      this.looks.delete(connection);
      this.parted.push(connection);
      if (this.parted.length > PARTED_KEPT) this.parted.shift();
    }
    if (this.isEnding && this.target.requestsInFlight === 0) this.closeAll();
    if (this.isLooking || this.arena.waiters === 0) return;
    this.isLooking = true;
    this.clock.in(LOOK_MS * 1000, () => {
      this.isLooking = false;
      this.dropStalled();
    });
  }

  /** SIGTERM: what was begun ends, nothing new begins, and when all is done everybody is hung up on. */
  shutDown(): void {
    this.target.shutDown(() => {
      this.isEnding = true;
    });
  }

  private closeAll(): void {
    this.isEnding = false;
    for (const connection of this.connections) connection.close();
  }

  /** daemon/net `dropStalled`, daemon/uring `StallWatch`. */
  private dropStalled(): void {
    for (const connection of this.connections) {
      const before = this.looks.get(connection);
      const { activity } = connection;
      const isScarce = this.arena.waiters > 0;
      if (!isScarce || !connection.isHoldingUp || before?.activity !== activity) {
        this.looks.set(connection, { activity, looks: 0 });
      } else if (before.looks + 1 < LOOKS) {
        before.looks += 1;
      } else {
        connection.drop();
      }
    }
  }
}
