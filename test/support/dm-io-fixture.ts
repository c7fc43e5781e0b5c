// What the rule tests of dm-io share: a world with one reserve, disks, patterns, and what was sent.
import type { BlockDevice } from '../../core/block/device.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import type { PageList } from '../../core/dm-io/memory.ts';
import type { IoRegionSpec } from '../../core/dm-io/region.ts';
import { DmIoRequest } from '../../core/dm-io/request.ts';
import { DmIoServices } from '../../core/dm-io/services.ts';
import { Disk, DiskWorld } from './dm-io-disk.ts';

export const SECTOR = 512;

export class Fixture {
  readonly world = new DiskWorld();
  /** The smallest reserve. */
  readonly services = new DmIoServices();

  constructor() {
    this.services.get(1, this.world.loop);
  }

  disks(count: number, sectors = 16): Disk[] {
    return Array.from({ length: count }, (_, i) => new Disk(this.world, sectors, {}, `disk${i}`));
  }

  disk(sectors = 16): Disk {
    return new Disk(this.world, sectors, {}, 'disk0');
  }

  /** A request of one's own for `dmIo`: synchronous until it is given an owner. */
  request(op: DmIoRequest['op'], flags: number, data?: Uint8Array): DmIoRequest {
    const made = new DmIoRequest();
    made.op = op;
    made.flags = flags;
    made.client = new DmIoClient(this.world.loop);
    if (data !== undefined) made.memory.setBytes(data, 0);
    return made;
  }

  /** Every bio sent, as `disk op sector+sectors`. */
  sent(): string[] {
    return this.world.log.map(({ disk, op, sector, sectors }) => {
      return `${disk.name} ${op} ${sector}+${sectors}`;
    });
  }
}

export function whole(device: BlockDevice): IoRegionSpec {
  return { device, sector: 0, count: device.sectors };
}

/** Sector i is filled with `first + i`. */
export function pattern(sectors: number, first = 1): Uint8Array {
  const bytes = new Uint8Array(sectors * SECTOR);
  for (let i = 0; i < sectors; i += 1) bytes.fill(first + i, i * SECTOR, (i + 1) * SECTOR);
  return bytes;
}

/** First byte of each sector. */
export function marks(bytes: Uint8Array): number[] {
  return Array.from({ length: bytes.length / SECTOR }, (_, i) => bytes[i * SECTOR] ?? -1);
}

export function pages(list: readonly Uint8Array[]): PageList {
  return list.reduceRight<PageList | null>((next, page) => ({ page, next }), null) as PageList;
}
