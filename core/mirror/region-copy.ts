import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors, sectorsFloor } from '../base/units.ts';
import type { Completion } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { RangeClaim, type RangeOwner } from '../block/range-lock.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import type { Leg } from './leg.ts';
import type { Recovery } from './recovery.ts';
import type { MirrorSet } from './set.ts';

/** Bytes copied at a time; a longer region takes several turns under one claim. */
const CHUNK_BYTES = 1024 * 1024;
const NO_BYTES = new Uint8Array(0);

/**
 * Copies one region to every active leg that lacks it. The claim is exclusive and covers the whole
 * region to the end, so a bit is cleared only for a copy that no write could race with (D4, I8).
 */
export class RegionCopy implements RangeOwner, DmIoOwner, Completion {
  region = 0;
  isBusy = false;
  private readonly set: MirrorSet;
  private readonly recovery: Recovery;
  private readonly claim = new RangeClaim();
  private readonly request = new DmIoRequest();
  private readonly tried: Uint8Array;
  private targets: Leg[] = [];
  private buffer: Uint8Array = NO_BYTES;
  private source: Leg | null = null;
  private sector = 0;
  private sectors = 0;
  private writing = false;
  private asZeroes = false;
  private healed = false;

  constructor(set: MirrorSet, recovery: Recovery) {
    this.set = set;
    this.recovery = recovery;
    this.tried = new Uint8Array(set.legs.length);
    this.claim.owner = this;
    this.claim.exclusive = true;
    this.request.owner = this;
  }

  start(region: number): void {
    assert(!this.isBusy, 'a region copy in use was started');
    this.isBusy = true;
    this.region = region;
    this.claim.start = region * this.set.regionSectors;
    this.claim.end = this.claim.start + this.set.sectorsOfRegion(region);
    if (this.set.lock.acquire(this.claim)) this.rangeGranted();
  }

  rangeGranted(): void {
    const bytes = Math.min(CHUNK_BYTES, bytesOfSectors(this.set.regionSectors));
    if (this.buffer.length !== bytes) this.buffer = new Uint8Array(bytes);
    this.sector = this.claim.start;
    this.tried.fill(0);
    // Fixed for the whole copy: a leg that is marked meanwhile lacks the chunks before.
    this.targets = this.set.legs.filter((leg) => leg.isActive && leg.outOfSync.test(this.region));
    this.readChunk();
  }

  private readChunk(): void {
    this.targets = this.targets.filter((leg) => leg.isActive);
    if (this.targets.length === 0) {
      this.end(true);
      return;
    }
    this.source = this.set.chooseLeg(this.region, this.region, this.tried);
    const device = this.source?.device ?? null;
    if (this.source === null || device === null) {
      for (const leg of this.targets) leg.noteError('resync', ERRNO.EIO);
      this.end(false);
      return;
    }
    this.writing = false;
    this.sectors = Math.min(sectorsFloor(this.buffer.length), this.claim.end - this.sector);
    this.request.op = REQ_OP.READ;
    this.request.flags = REQ_FLAG.NONE;
    this.request.memory.setBytes(this.buffer, 0);
    this.request.clearRegions();
    this.request.addRegion(device, this.source.startSector + this.sector, this.sectors);
    this.set.client.submit(this.request);
  }

  dmIoDone(request: DmIoRequest): void {
    if (this.writing) this.chunkWritten(request);
    else this.chunkRead(request);
  }

  private chunkRead(request: DmIoRequest): void {
    const source = this.source;
    assert(source !== null, 'a region copy without a source');
    if (request.errorBits.isEmpty) {
      this.asZeroes = isZero(this.buffer, bytesOfSectors(this.sectors)) && this.allTakeZeroes();
      this.writeChunk();
      return;
    }
    this.tried[source.index] = 1;
    this.set.noteReadError(source, this.sector, this.sectors, request.regions[0]?.error ?? 0);
    this.readChunk();
  }

  private writeChunk(): void {
    this.writing = true;
    // A hole stays a hole: zeros are not written where they can be asked for.
    this.request.op = this.asZeroes ? REQ_OP.WRITE_ZEROES : REQ_OP.WRITE;
    if (this.asZeroes) this.request.memory.setNone();
    else this.request.memory.setBytes(this.buffer, 0);
    this.request.clearRegions();
    for (const leg of this.targets) {
      assert(leg.device !== null, 'a leg in the set without a device');
      this.request.addRegion(leg.device, leg.startSector + this.sector, this.sectors);
    }
    this.set.client.submit(this.request);
  }

  private chunkWritten(request: DmIoRequest): void {
    if (!request.errorBits.isEmpty && !this.settleErrors(request)) return;
    this.sector += this.sectors;
    if (this.sector < this.claim.end) {
      this.readChunk();
      return;
    }
    this.set.unflushed.setRange(this.region, this.region);
    for (const leg of this.targets) if (leg.isActive) leg.outOfSync.clear(this.region);
    this.end(true);
  }

  /** True: go on with the legs that are left. */
  private settleErrors(request: DmIoRequest): boolean {
    const unsupported = request.regions.some(
      (region, i) =>
        i < request.regionCount && request.errorBits.test(i) && region.error === ERRNO.EOPNOTSUPP,
    );
    if (this.asZeroes && unsupported) {
      this.asZeroes = false;
      this.writeChunk();
      return false;
    }
    for (const [i, leg] of this.targets.entries()) {
      if (!request.errorBits.test(i) || !leg.isActive) continue;
      if (!this.set.failLeg(leg, 'resync', request.regions[i]?.error ?? ERRNO.EIO)) {
        // The last member cannot be healed here; its region stays marked.
        this.end(false);
        return false;
      }
    }
    return true;
  }

  private allTakeZeroes(): boolean {
    return this.targets.every((leg) => (leg.device?.limits.maxWriteZeroesSectors ?? 0) > 0);
  }

  private end(healed: boolean): void {
    this.healed = healed;
    this.source = null;
    this.set.lock.release(this.claim);
    this.set.loop.defer(this);
  }

  /** From the loop, so that regions nobody can read do not pile up on the stack. */
  complete(): void {
    this.isBusy = false;
    this.recovery.copied(this, this.healed);
  }
}

/** The buffer is a fresh Uint8Array whose length is a multiple of 512. */
function isZero(bytes: Uint8Array, length: number): boolean {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, length / 4);
  for (const word of words) if (word !== 0) return false;
  return true;
}
