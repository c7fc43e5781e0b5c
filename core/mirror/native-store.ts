import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { MAX_REGIONS } from '../base/error-bits.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { STANDING, type Leg } from './leg.ts';
import { lose } from './losses.ts';
import {
  lackSectorOf,
  LACKS_PER_SECTOR,
  mapSectorOf,
  mapShape,
  MAX_LOGICAL_BLOCK,
  STATES_PER_SECTOR,
  SUPERBLOCK_SECTORS,
  UNIT_SECTORS,
  type MapShape,
} from './native-layout.ts';
import { RegionBits } from './region-bits.ts';
import type { RegionLog, RegionLogStore } from './region-log.ts';
import { payloadAt, sealMapSector, setTagOf } from './region-map.ts';
import type { MirrorSet } from './set.ts';

const UNIT_BYTES = bytesOfSectors(UNIT_SECTORS);
const STATES_PER_UNIT = UNIT_SECTORS * STATES_PER_SECTOR;

/** The region log on the legs themselves: the map of format.md, written in units of 4 KiB. */
export class NativeStore implements RegionLogStore, DmIoOwner {
  readonly keepsLacks = true;
  readonly blocks: number;
  private readonly shape: MapShape;
  private readonly tag: number;
  private readonly request = new DmIoRequest();
  /** Lack bits as they were sent last, by slot; none: nobody knows what is on disk. */
  private readonly sent = new Map<number, RegionBits>();
  private set: MirrorSet | null = null;
  private bytes = new Uint8Array(0);
  /** Legs of the write under way, and how many runs of blocks each gets. */
  private targets: Leg[] = [];
  private runs = 0;
  private left: readonly number[] = [];
  private log: RegionLog | null = null;
  private mayClear = false;
  private sequence = 0;
  private done: (errno: number) => void = () => undefined;

  constructor(regions: number, setUuid: string) {
    this.shape = mapShape(regions);
    this.blocks = this.shape.mapSectors / UNIT_SECTORS;
    this.tag = setTagOf(setUuid);
    this.request.owner = this;
    this.request.op = REQ_OP.WRITE;
    this.request.flags = REQ_FLAG.FUA;
  }

  /** The set whose legs it writes to. */
  attach(set: MirrorSet): void {
    this.set = set;
  }

  legProblem({ sectors, limits }: BlockDevice, dataSectors: number): string | null {
    const { regions } = this.shape;
    if (mapSectorOf(sectors, regions) < dataSectors) {
      const wanted = dataSectors + this.shape.mapSectors + 2 * SUPERBLOCK_SECTORS + UNIT_SECTORS;
      return (
        `it has ${bytesOfSectors(sectors)} bytes, too small: ${bytesOfSectors(wanted)} are enough ` +
        'for the data and the metadata at its end'
      );
    }
    if (limits.logicalBlockSize <= MAX_LOGICAL_BLOCK) return null;
    return `it has blocks of ${limits.logicalBlockSize} bytes, metadata is written in ${MAX_LOGICAL_BLOCK}`;
  }

  blockOf(region: number): number {
    return Math.floor(region / STATES_PER_UNIT);
  }

  regionsOf(block: number): { readonly first: number; readonly last: number } | null {
    const first = block * STATES_PER_UNIT;
    if (first >= this.shape.regions) return null;
    return { first, last: Math.min(this.shape.regions, first + STATES_PER_UNIT) - 1 };
  }

  usedBlocks(used: RegionBits): void {
    used.setRange(0, Math.ceil(this.shape.stateSectors / UNIT_SECTORS) - 1);
    for (const { slot } of this.legsOnRecord()) this.lackBlocksOf(slot, used);
  }

  lackBlocksDue(due: RegionBits): void {
    for (const leg of this.legsOnRecord()) {
      const sent = this.sent.get(leg.slot);
      if (sent === undefined) {
        this.lackBlocksOf(leg.slot, due);
        continue;
      }
      const wanted = this.lacksOf(leg);
      for (let i = 0; i < this.shape.lackSectors; i += 1) {
        const first = i * LACKS_PER_SECTOR;
        const last = Math.min(this.shape.regions, first + LACKS_PER_SECTOR) - 1;
        if (!wanted.differsIn(sent, first, last)) continue;
        const block = Math.floor((lackSectorOf(this.shape, leg.slot) + i) / UNIT_SECTORS);
        due.setRange(block, block);
      }
    }
  }

  lackBlocksOf(slot: number, due: RegionBits): void {
    const first = lackSectorOf(this.shape, slot);
    const last = first + this.shape.lackSectors - 1;
    due.setRange(Math.floor(first / UNIT_SECTORS), Math.floor(last / UNIT_SECTORS));
  }

  write(
    blocks: readonly number[],
    log: RegionLog,
    mayClear: boolean,
    done: (errno: number) => void,
  ): void {
    this.log = log;
    this.mayClear = mayClear;
    this.done = done;
    this.sequence += 1;
    this.left = blocks;
    this.send();
  }

  /** As many runs of neighbours as one request may have regions; the rest goes in the next. */
  private send(): void {
    const { set, request } = { set: this.owner, request: this.request };
    this.targets = set.legs.filter((leg) => leg.isActive && leg.device !== null);
    const most = Math.max(1, Math.floor(MAX_REGIONS / Math.max(1, this.targets.length)));
    const runs = takeRuns(this.left, most);
    const taken = runs.reduce((sum, run) => sum + run.count, 0);
    const blocks = this.left.slice(0, taken);
    this.left = this.left.slice(taken);
    this.runs = runs.length;
    this.encode(blocks);
    request.clearRegions();
    request.memory.setBytes(this.bytes, 0);
    for (const leg of this.targets) {
      const { device } = leg;
      if (device === null) continue;
      leg.enter();
      const start = mapSectorOf(device.sectors, this.shape.regions);
      let memory = 0;
      for (const { first, count } of runs) {
        const sectors = count * UNIT_SECTORS;
        request.addRegion(device, start + first * UNIT_SECTORS, sectors, memory);
        memory += sectors;
      }
    }
    set.client.submit(request);
  }

  dmIoDone(request: DmIoRequest): void {
    for (const leg of this.targets) leg.leave();
    const errno = this.settleErrors(request);
    if (errno !== 0) {
      // What is on disk is not known any more.
      this.sent.clear();
      this.done(errno);
    } else if (this.left.length > 0) {
      this.send();
    } else {
      this.done(ERRNO.OK);
    }
  }

  /** A leg that did not take it is out, if a member did; else it is nobody's fault, and an errno. */
  private settleErrors(request: DmIoRequest): number {
    const errnos = this.targets.map((_, i) => this.errnoOf(request, i));
    const memberTook = this.targets.some(
      (leg, i) => leg.standing === STANDING.MEMBER && errnos[i] === 0,
    );
    if (!memberTook) {
      this.owner.noteBroken();
      const failed = errnos.find((errno) => errno !== 0) ?? ERRNO.EIO;
      for (const [i, leg] of this.targets.entries()) if (errnos[i] !== 0) this.owner.distrust(leg);
      lose(this.owner, failed);
      return failed;
    }
    for (const [i, leg] of this.targets.entries()) {
      const errno = errnos[i] ?? 0;
      if (errno !== 0 && leg.isActive) this.owner.failLeg(leg, 'write', errno);
    }
    return ERRNO.OK;
  }

  private errnoOf(request: DmIoRequest, target: number): number {
    for (let run = 0; run < this.runs; run += 1) {
      const index = target * this.runs + run;
      if (request.errorBits.test(index)) return request.regions[index]?.error ?? ERRNO.EIO;
    }
    return 0;
  }

  private encode(blocks: readonly number[]): void {
    const length = blocks.length * UNIT_BYTES;
    if (this.bytes.length < length || this.request.isLate) this.bytes = new Uint8Array(length);
    this.request.isLate = false;
    this.bytes.fill(0, 0, length);
    const lacks = new Map<number, RegionBits>();
    for (const [i, block] of blocks.entries()) {
      for (let k = 0; k < UNIT_SECTORS; k += 1) {
        const at = i * UNIT_BYTES + k * SECTOR_SIZE;
        const index = block * UNIT_SECTORS + k;
        if (index < this.shape.stateSectors) this.putStates(at, index);
        else this.putLacks(at, index, lacks);
        sealMapSector(this.bytes, at, index, this.tag, this.sequence);
      }
    }
  }

  private putStates(at: number, index: number): void {
    const first = index * STATES_PER_SECTOR;
    const end = Math.min(this.shape.regions, first + STATES_PER_SECTOR);
    const payload = payloadAt(at);
    for (let region = first; region < end; region += 1) {
      this.bytes[payload + region - first] = this.log?.stateOf(region) ?? 0;
    }
  }

  private putLacks(at: number, index: number, lacks: Map<number, RegionBits>): void {
    const inSections = index - this.shape.stateSectors;
    const slot = Math.floor(inSections / this.shape.lackSectors);
    const leg = this.legsOnRecord().find((each) => each.slot === slot);
    if (leg === undefined) return;
    const first = (inSections % this.shape.lackSectors) * LACKS_PER_SECTOR;
    const last = Math.min(this.shape.regions, first + LACKS_PER_SECTOR) - 1;
    let wanted = lacks.get(slot);
    if (wanted === undefined) {
      wanted = this.lacksOf(leg);
      lacks.set(slot, wanted);
    }
    let sent = this.sent.get(slot);
    if (sent === undefined) {
      sent = new RegionBits(this.shape.regions);
      this.sent.set(slot, sent);
    }
    if (this.mayClear) sent.clearRange(first, last);
    const payload = payloadAt(at);
    for (
      let region = wanted.next(first);
      region >= 0 && region <= last;
      region = wanted.next(region + 1)
    ) {
      sent.setRange(region, region);
    }
    for (
      let region = sent.next(first);
      region >= 0 && region <= last;
      region = sent.next(region + 1)
    ) {
      const bit = region - first;
      this.bytes[payload + (bit >> 3)] = (this.bytes[payload + (bit >> 3)] ?? 0) | (1 << (bit & 7));
    }
  }

  /** Until its removal is durable a leg may be found again, and must not have lost its bits. */
  private legsOnRecord(): readonly Leg[] {
    return [...this.owner.legs, ...this.owner.leaving];
  }

  /**
   * What is to be said of a leg: of a member nothing. A leg that is being filled may lose what has
   * not been flushed since it was copied.
   */
  private lacksOf(leg: Leg): RegionBits {
    const bits = new RegionBits(this.shape.regions);
    if (leg.standing === STANDING.MEMBER) return bits;
    bits.addAll(leg.outOfSync);
    if (!leg.isActive) return bits;
    bits.addAll(this.owner.unflushed);
    bits.addAll(this.owner.covered);
    return bits;
  }

  private get owner(): MirrorSet {
    assert(this.set !== null, 'a native store without a set');
    return this.set;
  }
}

/** Neighbours among sorted blocks, the first `most` runs of them. */
function takeRuns(
  blocks: readonly number[],
  most: number,
): { readonly first: number; count: number }[] {
  const runs: { readonly first: number; count: number }[] = [];
  for (const block of blocks) {
    const run = runs.at(-1);
    if (run !== undefined && run.first + run.count === block) run.count += 1;
    else if (runs.length < most) runs.push({ first: block, count: 1 });
    else break;
  }
  return runs;
}
