import { assert } from '../base/assert.ts';
import { ERRNO, errnoName } from '../base/errno.ts';
import type { Completion } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { isIn, STANDING, type Leg } from './leg.ts';
import { NO_MARK } from './native-format.ts';
import { SUPERBLOCK_BYTES, SUPERBLOCK_SECTORS, superblockSectors } from './native-layout.ts';
import type { MirrorSet } from './set.ts';
import { encodeSuperblock, entryOf, type RunMark, type Superblock } from './superblock.ts';

/** A superblock but for what each leg says of itself. */
export type CommonSuperblock = Omit<Superblock, 'legUuid' | 'slot' | 'deviceSectors'>;

/** Where the leg's newest superblock is, and which it is: kept by the recorder, and kept true here. */
export interface SuperblockPlace {
  last: RunMark;
  copy: 'a' | 'b';
}

/** It was given up on for this: what is sent there only waits once more. */
const UNREACHABLE: readonly number[] = [ERRNO.ETIMEDOUT, ERRNO.ENOTCONN, ERRNO.ENXIO];

/**
 * A leg that has left still calls itself in sync, and started alone it would be believed. So it is told,
 * as well as may be: the superblock that those who stay have, which says that it is out.
 *
 * Nobody waits for it, and nothing depends on it. It is said after the departure is durable on every leg
 * that stays, in both copies there, and while no newer record is on its way: whoever finds it may take
 * its word (assemble-native.ts, isIncomplete). It goes over the older copy first, so torn it is the leg
 * as it was. The leg is busy (`inFlight`) until it has landed or failed: a leg that comes back, is given
 * away or is closed cannot meet one that is late. Afterwards it is a fence like any other (I12).
 */
export class Farewells implements DmIoOwner, Completion {
  private readonly request = new DmIoRequest();
  private readonly places: ReadonlyMap<string, SuperblockPlace>;
  /** By leg: the departure of which it was told, or was to be told. */
  private readonly said = new Map<string, number>();
  private readonly awaited = new Set<Leg>();
  private set: MirrorSet | null = null;
  private common: CommonSuperblock | null = null;
  private leg: Leg | null = null;
  private mark: RunMark = NO_MARK;
  private isSecond = false;
  private whenDone: (() => void) | null = null;

  constructor(places: ReadonlyMap<string, SuperblockPlace>) {
    this.places = places;
    this.request.owner = this;
    this.request.op = REQ_OP.WRITE;
    this.request.flags = REQ_FLAG.FUA;
  }

  attach(set: MirrorSet): void {
    this.set = set;
  }

  /** Those who stay have this, in both copies. */
  say(common: CommonSuperblock): void {
    this.common = common;
    this.next();
  }

  /** A newer record is on its way: what is said from now on is said of that. */
  hold(): void {
    this.common = null;
  }

  /** `done` when nothing of it is under way, nor will be before the next record. */
  settle(done: () => void): void {
    this.whenDone = done;
    if (this.leg === null) this.next();
  }

  /** From the loop: a leg has ended what it was given. */
  complete(): void {
    if (this.leg === null) this.next();
  }

  private next(): void {
    if (this.leg !== null) return;
    const leg = this.choose();
    if (leg !== null) {
      this.begin(leg);
      return;
    }
    if (this.whenDone === null) return;
    this.hold();
    const { whenDone } = this;
    this.whenDone = null;
    whenDone();
  }

  private choose(): Leg | null {
    const { common, owner } = this;
    if (common === null || owner.journal.isBehind) return null;
    for (const leg of owner.legs) {
      const entry = entryOf(common, leg.uuid);
      if (entry === undefined || !mayBeTold(leg)) continue;
      const isOut = !isIn(entry.state);
      if (!isOut || this.said.get(entry.uuid) === entry.changedGeneration) continue;
      if (leg.inFlight > 0) {
        this.await(leg);
        continue;
      }
      this.said.set(entry.uuid, entry.changedGeneration);
      return leg;
    }
    return null;
  }

  private await(leg: Leg): void {
    if (this.awaited.has(leg)) return;
    this.awaited.add(leg);
    leg.whenIdle(() => {
      this.awaited.delete(leg);
      this.owner.loop.defer(this);
    });
  }

  private begin(leg: Leg): void {
    const { common } = this;
    const { device, uuid, slot } = leg;
    assert(common !== null && device !== null && uuid !== null, 'a farewell to nobody');
    this.leg = leg;
    this.mark = { run: common.run, sequence: common.sequence };
    this.isSecond = false;
    // New memory each time: a leg that was given up on may still write from the old one.
    const bytes = new Uint8Array(SUPERBLOCK_BYTES);
    const superblock = { ...common, legUuid: uuid, slot, deviceSectors: device.sectors };
    encodeSuperblock(superblock, bytes, 0);
    this.request.memory.setBytes(bytes, 0);
    leg.enter();
    this.send(leg);
  }

  private send(leg: Leg): void {
    const { device } = leg;
    assert(device !== null, 'a farewell without a device');
    const { a, b } = superblockSectors(device.sectors);
    const sector = this.placeOf(leg).copy === 'a' ? b : a;
    this.request.isLate = false;
    this.request.clearRegions();
    this.request.addRegion(device, sector, SUPERBLOCK_SECTORS);
    this.owner.client.submit(this.request);
  }

  dmIoDone(request: DmIoRequest): void {
    const { leg } = this;
    assert(leg !== null, 'a farewell ended twice');
    const isTaken = request.errorBits.isEmpty;
    if (isTaken) {
      const place = this.placeOf(leg);
      place.copy = place.copy === 'a' ? 'b' : 'a';
      // What it shows from now on, if nobody puts it back.
      place.last = this.mark;
    }
    if (isTaken && !this.isSecond) {
      this.isSecond = true;
      this.send(leg);
      return;
    }
    if (!isTaken) {
      const errno = errnoName(request.regions[0]?.error ?? ERRNO.EIO);
      const facts = { device: this.owner.name, leg: leg.name, errno };
      this.owner.log.info(
        facts,
        'a leg that has left could not be told: it may call itself in sync',
      );
    }
    this.leg = null;
    leg.leave();
    this.next();
  }

  private placeOf({ uuid }: Leg): SuperblockPlace {
    const place = this.places.get(uuid ?? '');
    assert(place !== undefined, 'a farewell to a leg nobody knows');
    return place;
  }

  private get owner(): MirrorSet {
    assert(this.set !== null, 'farewells without a set');
    return this.set;
  }
}

function mayBeTold(leg: Leg): boolean {
  if (leg.standing !== STANDING.FAILED || leg.isLeaving || leg.isStranger) return false;
  return leg.device !== null && !UNREACHABLE.includes(leg.lastErrno);
}
