import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { MAX_REGIONS } from '../base/error-bits.ts';
import { bytesOfSectors } from '../base/units.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { isEqual } from './bytes.ts';
import type { Leg } from './leg.ts';
import type { MirrorSet } from './set.ts';

/** Who has legs mended. */
export interface MendOwner {
  /** Some write to this leg failed; the others go on. */
  mendFailed(leg: Leg, errno: number): void;
  /** All writes have ended. Called from the loop. */
  mended(): void;
}

interface Run {
  readonly leg: Leg;
  /** Sectors from the start of the buffer. */
  readonly from: number;
  readonly sectors: number;
}

/**
 * Writes parts of one buffer to legs where they differ from it, each part with FUA: what has been
 * compared once must be what a power cut leaves (I6). The caller holds an exclusive claim.
 */
export class Mend implements DmIoOwner {
  /** Sectors written since the last `begin`, over all legs. */
  sectors = 0;
  private readonly set: MirrorSet;
  private readonly owner: MendOwner;
  private readonly request = new DmIoRequest();
  private runs: Run[] = [];
  private sent: readonly Run[] = [];
  private buffer: Uint8Array = new Uint8Array(0);
  private sector = 0;

  constructor(set: MirrorSet, owner: MendOwner) {
    this.set = set;
    this.owner = owner;
    this.request.owner = this;
    this.request.op = REQ_OP.WRITE;
    this.request.flags = REQ_FLAG.FUA;
  }

  /** `truth` holds what the legs should hold from `sector` on. */
  begin(truth: Uint8Array, sector: number): void {
    assert(this.runs.length === 0, 'legs are being mended already');
    this.buffer = truth;
    this.sector = sector;
    this.sectors = 0;
  }

  /** A leg was given up on that may still write from a buffer since this was asked last. */
  takeLate(): boolean {
    const { isLate } = this.request;
    this.request.isLate = false;
    return isLate;
  }

  add(leg: Leg, from: number, sectors: number): void {
    this.runs.push({ leg, from, sectors });
    this.sectors += sectors;
  }

  /** Adds what of `found`, the leg's own bytes, differs from the truth, block by block. */
  addDifferences(leg: Leg, found: Uint8Array, sectors: number): void {
    const step = this.set.blockSectors;
    let start = -1;
    for (let at = 0; at < sectors; at += step) {
      const isSame = isEqual(this.buffer, found, bytesOfSectors(at), bytesOfSectors(at + step));
      if (!isSame && start < 0) start = at;
      if (isSame && start >= 0) {
        this.add(leg, start, at - start);
        start = -1;
      }
    }
    if (start >= 0) this.add(leg, start, sectors - start);
  }

  /** False: there is nothing to write, and `mended` is not called. */
  start(): boolean {
    // A leg that has left takes no writes.
    this.runs = this.runs.filter(({ leg }) => leg.isActive);
    if (this.runs.length === 0) return false;
    this.send();
    return true;
  }

  private send(): void {
    const { request } = this;
    this.sent = this.runs.slice(0, MAX_REGIONS);
    this.runs = this.runs.slice(MAX_REGIONS);
    request.memory.setBytes(this.buffer, 0);
    request.clearRegions();
    for (const { leg, from, sectors } of this.sent) {
      assert(leg.device !== null, 'a leg without a device was to be mended');
      leg.enter();
      request.addRegion(leg.device, leg.startSector + this.sector + from, sectors, from);
    }
    this.set.client.submit(request);
  }

  dmIoDone(request: DmIoRequest): void {
    for (const { leg } of this.sent) leg.leave();
    for (const [i, { leg }] of this.sent.entries()) {
      if (!request.errorBits.test(i)) continue;
      this.owner.mendFailed(leg, request.regions[i]?.error ?? ERRNO.EIO);
    }
    // A leg that has left takes no more writes.
    this.runs = this.runs.filter(({ leg }) => leg.isActive);
    if (this.runs.length > 0) this.send();
    else this.owner.mended();
  }
}
