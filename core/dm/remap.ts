import { assert } from '../base/assert.ts';
import { Pool } from '../base/pool.ts';
import { Ring } from '../base/ring.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { hasData } from '../block/op.ts';
import type { Loop } from '../block/loop.ts';
import { DmIoClient } from '../dm-io/client.ts';
import { DmIoRequest } from '../dm-io/request.ts';
import type { DmIoOwner } from '../dm-io/request.ts';

/** Bios a remapper carries at once; more wait, first in first out. */
const REMAPS_RESERVE = 16;
const REMAPS_LIMIT = 1024;

/**
 * Sends whole bios to one device, `sectorDelta` further on, through dm-io: all that a target does
 * which changes nothing but the address.
 */
export class Remapper {
  private readonly device: BlockDevice;
  private readonly sectorDelta: number;
  private readonly client: DmIoClient;
  private readonly remaps: Pool<Remap>;
  private readonly waiting = new Ring<Bio>(16);

  /** `sectorDelta`: sector on the device minus sector of the bio; may be negative. */
  constructor(loop: Loop, device: BlockDevice, sectorDelta: number, limit = REMAPS_LIMIT) {
    const reserve = Math.min(REMAPS_RESERVE, limit);
    this.device = device;
    this.sectorDelta = sectorDelta;
    this.client = new DmIoClient(loop, reserve, limit);
    this.remaps = new Pool(reserve, limit, () => new Remap(this));
  }

  map(bio: Bio): void {
    if (this.remaps.isEmpty) this.waiting.push(bio);
    else this.start(bio);
  }

  /** Called in completion context. */
  ended(remap: Remap): void {
    const bio = remap.bio;
    assert(bio !== null, 'a remap ended twice');
    const region = remap.request.regions[0];
    assert(region !== undefined, 'a remap has one region');
    bio.error = region.error;
    assert(bio.error !== 0 || remap.request.errorBits.isEmpty, 'an error bit without an errno');
    remap.bio = null;
    this.remaps.put(remap);
    const next = this.waiting.shift();
    if (next !== undefined) this.start(next);
    bio.complete();
  }

  private start(bio: Bio): void {
    const remap = this.remaps.get();
    assert(remap !== undefined, 'a remap was promised');
    remap.bio = bio;
    const request = remap.request;
    request.op = bio.op;
    request.flags = bio.flags;
    if (hasData(bio.op)) request.memory.setVecs(bio.vecs, bio.vecCount);
    else request.memory.setNone();
    request.clearRegions();
    // A FLUSH has no range; dm-io flushes the device of an empty region too.
    request.addRegion(this.device, bio.sector + this.sectorDelta, bio.sectors);
    this.client.submit(request);
  }
}

class Remap implements DmIoOwner {
  readonly request = new DmIoRequest();
  bio: Bio | null = null;
  private readonly remapper: Remapper;

  constructor(remapper: Remapper) {
    this.remapper = remapper;
    this.request.owner = this;
  }

  dmIoDone(): void {
    this.remapper.ended(this);
  }
}
