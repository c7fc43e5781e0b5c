// The server's half without a network: exports on memory, one arena, and clients of every kind.
import { ERRNO } from '../../core/base/errno.ts';
import type { Prng } from '../../core/base/prng.ts';
import { Arena } from '../../core/block/arena.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import { RUN, type Run } from '../../core/block/run.ts';
import { ExportTable } from '../../core/export/export-table.ts';
import { Export } from '../../core/export/export.ts';
import { ACCESS, TLS_MODE, type Access, type ClientRules } from '../../core/nbd/directory.ts';
import { createManualLoop } from '../support/manual-loop.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { expectThat } from './finding.ts';

/** A disk that has holes and a mirror's state, so that there is something to say. */
class MappedDisk extends MemoryDevice {
  readonly hasMirrorState = true;

  allocationAt(sector: number, sectors: number, run: Run): void {
    const piece = sector >> 6;
    run.set(
      Math.min(sectors, ((piece + 1) << 6) - sector),
      piece % 3 === 0 ? RUN.HOLE | RUN.ZERO : 0,
    );
  }

  mirrorStateAt(sector: number, sectors: number, run: Run): void {
    const piece = sector >> 7;
    run.set(Math.min(sectors, ((piece + 1) << 7) - sector), piece % 5);
  }
}

/** What the story's wild clients may ask for, and beside it an export that none of them knows. */
export class ServerWorld {
  readonly loop = createManualLoop();
  readonly table = new ExportTable();
  readonly arena: Arena;
  readonly disk: MappedDisk;
  readonly exports: readonly Export[];
  readonly witness: Export;
  readonly plain: ClientRules;
  readonly secured: ClientRules;
  /** No bio fails that the device's limits allow. */
  readonly isFaultless: boolean;
  /** The story has shut an export down: nobody else may. */
  isShutDown = false;
  private readonly devices: readonly MemoryDevice[];

  constructor(prng: Prng) {
    const { loop } = this;
    this.arena = new Arena(new Uint8Array(2 ** prng.between(17, 21)), loop);
    const block = prng.pick([512, 512, 4096]);
    this.disk = new MappedDisk({
      loop,
      sectors: prng.pick([256, 1024, 2048]),
      prng,
      maxDelayTurns: prng.below(6),
      limits: {
        logicalBlockSize: block,
        maxSectors: prng.pick([8, 256, DEFAULT_LIMITS.maxSectors]),
        maxWriteZeroesSectors: prng.pick([0, 64, DEFAULT_LIMITS.maxWriteZeroesSectors]),
        maxDiscardSectors: prng.pick([0, 64, DEFAULT_LIMITS.maxDiscardSectors]),
        slowZeroes: prng.ratio(1, 4),
        readOnly: prng.ratio(1, 12),
      },
    });
    const faults = prng.pick([0, 0, 1]);
    this.isFaultless = faults === 0;
    this.disk.fault = () =>
      prng.ratio(faults, 8) ? prng.pick([ERRNO.EIO, ERRNO.EOPNOTSUPP, ERRNO.ENOSPC]) : 0;
    const small = new MemoryDevice({ loop, sectors: 9, limits: { readOnly: true } });
    const apart = new MemoryDevice({ loop, sectors: 64, prng, maxDelayTurns: 2 });
    this.devices = [this.disk, small, apart];
    this.exports = [
      new Export({ name: 'disk', device: this.disk, description: 'a disk' }),
      new Export({ name: 'ro/é', device: small }),
    ];
    for (const one of this.exports) this.table.add(one);
    this.witness = new Export({ name: 'witness', device: apart });
    const tls = prng.pick([
      TLS_MODE.OFF,
      TLS_MODE.OFF,
      TLS_MODE.OFF,
      TLS_MODE.SELECTIVE,
      TLS_MODE.FORCED,
    ]);
    const early = prng.pick<Access>([ACCESS.WRITE, ACCESS.WRITE, ACCESS.WRITE, ACCESS.READ]);
    const late = prng.pick<Access>([ACCESS.WRITE, ACCESS.READ, ACCESS.NONE]);
    const needsTls = tls !== TLS_MODE.OFF && prng.ratio(1, 2);
    this.plain = { tls, accessTo: () => (needsTls ? ACCESS.TLS_FIRST : early) };
    this.secured = { tls: TLS_MODE.SECURED, accessTo: () => late };
  }

  /** A client that only does what proto.md says must be served in this world. */
  get servesPlain(): boolean {
    return this.plain.tls !== TLS_MODE.FORCED && this.plain.accessTo(this.witness) >= ACCESS.READ;
  }

  shutDown(): void {
    const [disk] = this.exports;
    if (this.isShutDown || disk === undefined) return;
    this.isShutDown = true;
    void disk.beginShutdown();
  }

  get isQuiet(): boolean {
    return this.devices.every(({ inFlight }) => inFlight === 0);
  }

  /** The arena, claims, bios, requests and connections that are left when nobody is. */
  expectNothingLeft(): void {
    const { arena } = this;
    expectThat(arena.usedBytes === 0, `${arena.usedBytes} bytes of the arena are left`);
    expectThat(arena.waiters === 0, `${arena.waiters} wait for the arena`);
    expectThat(this.isQuiet, 'bios are left');
    for (const one of [...this.exports, this.witness]) {
      const { name } = one;
      expectThat(this.isShutDown || !one.isShuttingDown, `a client has shut ${name} down`);
      expectThat(one.writes.length === 0, `${one.writes.length} claims of ${name} are left`);
      expectThat(one.requestsInFlight === 0, `${one.requestsInFlight} requests of ${name}`);
      expectThat(one.connections === 0, `${one.connections} connections of ${name} are left`);
    }
  }
}
