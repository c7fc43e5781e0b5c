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

/** Where the bios of a target go. */
export interface Route {
  /** Adds a region for each device the bio goes to. All of them get the same memory. */
  addRegions(bio: Bio, request: DmIoRequest): void;
  /** The bio has ended below, with `bio.error`; its memory is still the target's. */
  ended(bio: Bio): void;
}

/** One device, `sectorDelta` further on. */
export class LinearRoute implements Route {
  private readonly device: BlockDevice;
  private readonly sectorDelta: number;

  /** `sectorDelta`: sector on the device minus sector of the bio; may be negative. */
  constructor(device: BlockDevice, sectorDelta: number) {
    this.device = device;
    this.sectorDelta = sectorDelta;
  }

  addRegions(bio: Bio, request: DmIoRequest): void {
    // A FLUSH has no range; dm-io flushes the device of an empty region too.
    request.addRegion(this.device, bio.sector + this.sectorDelta, bio.sectors);
  }

  ended(_bio: Bio): void {
    // What it became is what it is.
  }
}

/**
 * Sends whole bios elsewhere through dm-io: all that a target does which changes nothing but the
 * address.
 */
export class Remapper {
  private readonly route: Route;
  private readonly client: DmIoClient;
  private readonly remaps: Pool<Remap>;
  private readonly waiting = new Ring<Bio>(16);

  constructor(loop: Loop, route: Route, limit = REMAPS_LIMIT) {
    const reserve = Math.min(REMAPS_RESERVE, limit);
    this.route = route;
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
    bio.error = firstError(remap.request);
    remap.bio = null;
    this.remaps.put(remap);
    const next = this.waiting.shift();
    if (next !== undefined) this.start(next);
    this.route.ended(bio);
    bio.complete();
  }

  private start(bio: Bio): void {
    const remap = this.remaps.get();
    assert(remap !== undefined, 'a remap was promised');
    remap.bio = bio;
    const request = remap.request;
    request.op = bio.op;
    request.flags = bio.flags;
    request.loan = bio.loan;
    if (hasData(bio.op)) request.memory.setVecs(bio.vecs, bio.vecCount);
    else request.memory.setNone();
    request.clearRegions();
    this.route.addRegions(bio, request);
    this.client.submit(request);
  }
}

/** The errno of the first region that has one. */
function firstError(request: DmIoRequest): number {
  for (let i = 0; i < request.regionCount; i += 1) {
    const region = request.regions[i]!;
    if (region.error !== 0) return region.error;
  }
  assert(request.errorBits.isEmpty, 'an error bit without an errno');
  return 0;
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
