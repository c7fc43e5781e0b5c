import { SECTOR_SIZE } from '../base/units.ts';
import type { Bio } from '../block/bio.ts';
import { BioVec } from '../block/bio.ts';
import { COMMAND, COMMAND_FLAG } from '../nbd/proto.ts';
import { Digest } from './digest.ts';
import type { RemoteRequest } from './request.ts';

const NOWHERE: number = -1;

// Places by what they are for. README.md, "What a server must show", says why each.
// Of candidates and frozen ones the first holds data, the second zeros: they prove different things.
const CANDIDATE = 0;
const FROZEN = 2;
const SOLID = 4;
const RECENT = 5;
const RECENT_COUNT = 4;
const ZEROED = RECENT + RECENT_COUNT;
const ZEROED_COUNT = 2;
const SAMPLE = ZEROED + ZEROED_COUNT;
const SAMPLE_COUNT = 8;
const PLACE_COUNT = SAMPLE + SAMPLE_COUNT;
/** A file system's own block begins with zeros: a sample is long enough to see beyond them. */
const SAMPLE_SECTORS = 8;

/** A range, and what a server that keeps its word holds there. */
class Place {
  sector = NOWHERE;
  sectors = 0;
  readonly digest = new Digest();
  /** A write of the whole place is under way, or is not flushed: it may hold this as well. */
  readonly other = new Digest();
  hasOther = false;
  /** Acknowledged writes, this one among them: durable when so many are flushed. */
  born = 0;
  /** Grows whenever the place is another one, or may hold something else. */
  serial = 0;
  /** A server did not show it in time: it is asked for only if no other place proves anything. */
  isSlow = false;

  set(sector: number, sectors: number, digest: Digest, born: number): void {
    this.sector = sector;
    this.sectors = sectors;
    this.digest.copy(digest);
    this.hasOther = false;
    this.born = born;
    this.serial += 1;
    this.isSlow = false;
  }

  forget(): void {
    this.sector = NOWHERE;
    this.hasOther = false;
    this.serial += 1;
  }

  overlaps(sector: number, end: number): boolean {
    return this.sector !== NOWHERE && this.sector < end && sector < this.sector + this.sectors;
  }
}

/** For another device of the same export: what was known when its leg was let go. */
export interface Remembered {
  readonly sector: number;
  readonly sectors: number;
  readonly first: number;
  readonly second: number;
  readonly isZero: boolean;
}

/**
 * A few places of which the device knows what its server must hold. Whoever answers a new connection with
 * something else there is another server, or has lost what it acknowledged as flushed.
 */
export class Witness {
  /** The samples of the beginning were taken. */
  isWhole = false;
  readonly sampleSectors: number;
  private readonly places: Place[] = [];
  private readonly zero = new Digest();
  private nextRecent = 0;
  private nextZeroed = 0;
  /** Failed flushes: what was under way at one of them may be lost, whatever its end says. */
  private epoch = 0;

  constructor(blockSectors: number, remembered: readonly Remembered[]) {
    this.sampleSectors = Math.max(SAMPLE_SECTORS, blockSectors);
    for (let i = 0; i < PLACE_COUNT; i += 1) this.places.push(new Place());
    this.zero.take([new BioVec(new Uint8Array(SECTOR_SIZE), 0, SECTOR_SIZE)], SECTOR_SIZE);
    const digest = new Digest();
    for (const [i, one] of remembered.entries()) {
      Object.assign(digest, { first: one.first, second: one.second, isZero: one.isZero });
      this.places[SOLID + i]?.set(one.sector, one.sectors, digest, 0);
    }
  }

  get count(): number {
    return PLACE_COUNT;
  }

  /** A mutation is about to be sent for the first time. `oldest`: it and all others that have not ended, by age. */
  begins(request: RemoteRequest, oldest: RemoteRequest | null): void {
    const { bio, type, digest } = request;
    const { sector, sectors, vecs } = bio!;
    if (type === COMMAND.WRITE) digest.take(vecs, SECTOR_SIZE);
    else digest.copy(this.zero);
    request.epoch = this.epoch;
    const end = sector + sectors;
    for (let one = oldest; one !== null; one = one.younger) {
      if (one === request || !one.isBegun || one.bio === null) continue;
      if (one.bio.sector >= end || sector >= one.bio.sector + one.bio.sectors) continue;
      one.isMingled = true;
      request.isMingled = true;
    }
    for (let i = 0; i < PLACE_COUNT; i += 1) {
      const place = this.places[i]!;
      if (!place.overlaps(sector, end)) continue;
      const isSame = place.sector === sector && place.sectors === 1 && !place.hasOther;
      if (i < SOLID || !isSame || type === COMMAND.TRIM) {
        place.forget();
        continue;
      }
      place.other.copy(digest);
      place.hasOther = true;
      place.serial += 1;
    }
  }

  /** It went well. `acknowledged`: so many writes have, this one among them if it is cached. */
  ended(request: RemoteRequest, acknowledged: number, canCache: boolean): void {
    const { bio, type, digest, flags } = request;
    const { sector } = bio!;
    if (request.epoch !== this.epoch || request.isMingled) this.failed(bio!);
    else if (type === COMMAND.TRIM) return;
    else if (!canCache || (flags & COMMAND_FLAG.FUA) !== 0) this.keep(sector, digest);
    else this.places[CANDIDATE + (digest.isZero ? 1 : 0)]!.set(sector, 1, digest, acknowledged);
  }

  /** A mutation that failed, or of which nobody knows: anything may be there. */
  failed({ sector, sectors }: Bio): void {
    for (let i = 0; i < PLACE_COUNT; i += 1) {
      const place = this.places[i]!;
      if (place.overlaps(sector, sector + sectors)) place.forget();
    }
  }

  /** What it will cover: the candidate is another one by the time it has ended. */
  flushSent(): void {
    for (let i = 0; i < 2; i += 1) {
      const candidate = this.places[CANDIDATE + i]!;
      const frozen = this.places[FROZEN + i]!;
      if (candidate.sector === NOWHERE || frozen.sector !== NOWHERE) continue;
      frozen.set(candidate.sector, 1, candidate.digest, candidate.born);
    }
  }

  flushed(mark: number): void {
    for (let i = SOLID - 1; i >= CANDIDATE; i -= 1) {
      const place = this.places[i]!;
      if (place.sector === NOWHERE || place.born > mark) continue;
      const { sector } = place;
      place.forget();
      this.keep(sector, place.digest);
    }
  }

  /** It may have lost what it was given lately, also from under a write with FUA that goes well. */
  flushFailed(flushed: number): void {
    this.epoch += 1;
    for (let i = 0; i < SAMPLE; i += 1) this.places[i]!.forget();
    this.forgetBeyond(flushed);
  }

  /** What was not flushed may be lost; what was flushed may not. */
  died(flushed: number): void {
    for (let i = CANDIDATE; i < SOLID; i += 1) this.places[i]!.forget();
    this.forgetBeyond(flushed);
    for (let i = 0; i < PLACE_COUNT; i += 1) this.places[i]!.born = 0;
  }

  private forgetBeyond(flushed: number): void {
    for (let i = SAMPLE; i < PLACE_COUNT; i += 1) {
      const place = this.places[i]!;
      if (place.born > flushed) place.forget();
    }
  }

  /** Durable. */
  private keep(sector: number, digest: Digest): void {
    for (let i = SOLID; i < PLACE_COUNT; i += 1) {
      const place = this.places[i]!;
      if (place.overlaps(sector, sector + 1)) place.forget();
    }
    if (digest.isZero) {
      this.places[ZEROED + this.nextZeroed]!.set(sector, 1, digest, 0);
      this.nextZeroed = (this.nextZeroed + 1) % ZEROED_COUNT;
      return;
    }
    const solid = this.places[SOLID]!;
    if (solid.sector === NOWHERE) {
      solid.set(sector, 1, digest, 0);
      return;
    }
    this.places[RECENT + this.nextRecent]!.set(sector, 1, digest, 0);
    this.nextRecent = (this.nextRecent + 1) % RECENT_COUNT;
  }

  // --- looking at a server

  /** A server that keeps its word can be asked for the n-th place. */
  isKnown(index: number, flushed: number): boolean {
    const place = this.places[index]!;
    return index >= SOLID && place.sector !== NOWHERE && place.born <= flushed;
  }

  /** The n-th place has no sample yet. */
  isSampleFree(index: number): boolean {
    return index >= SAMPLE && this.places[index]!.sector === NOWHERE;
  }

  isSlow(index: number): boolean {
    return this.places[index]!.isSlow;
  }

  wasLate(index: number): void {
    this.places[index]!.isSlow = true;
  }

  sectorOf(index: number): number {
    return this.places[index]!.sector;
  }

  sectorsOf(index: number): number {
    return this.places[index]!.sectors;
  }

  serialOf(index: number): number {
    return this.places[index]!.serial;
  }

  matches(index: number, digest: Digest): boolean {
    const place = this.places[index]!;
    return place.digest.equals(digest) || (place.hasOther && place.other.equals(digest));
  }

  /** Where the sample of the n-th place is taken: the first block, the last, and others between. */
  sampleSector(index: number, sectors: number, blockSectors: number): number {
    const last = sectors - this.sampleSectors;
    const at = Math.floor((last * (index - SAMPLE)) / (SAMPLE_COUNT - 1));
    return at - (at % blockSectors);
  }

  sample(index: number, sector: number, digest: Digest, acknowledged: number): void {
    this.places[index]!.set(sector, this.sampleSectors, digest, acknowledged);
  }

  /** For who opens the export again. Nothing is under way. */
  image(flushed: number): readonly Remembered[] {
    // eslint-disable-next-line no-restricted-syntax -- once in the life of a leg
    const known: Remembered[] = [];
    for (let i = SOLID; i < PLACE_COUNT; i += 1) {
      const { sector, sectors, digest, hasOther } = this.places[i]!;
      if (!this.isKnown(i, flushed) || hasOther) continue;
      const { first, second, isZero } = digest;
      // eslint-disable-next-line no-restricted-syntax -- as above
      known.push({ sector, sectors, first, second, isZero });
    }
    return known;
  }
}
