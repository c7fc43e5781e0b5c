import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { Pool } from '../base/pool.ts';
import { Ring } from '../base/ring.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import type { Bio } from '../block/bio.ts';
import { bioError, type BlockDevice } from '../block/device.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import type { ZeroQuery } from '../block/run.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { COMMAND, COMMAND_FLAG, TRANSMISSION_FLAG } from '../nbd/proto.ts';
import { AgeList } from './age-list.ts';
import { has, limitsOf } from './facts.ts';
import type { LinkOwner, RemoteLink } from './link.ts';
import type { RemoteDeviceOptions } from './options.ts';
import { LinkCheck, VERDICT } from './link-check.ts';
import { RemoteRequest } from './request.ts';
import { Witness, type Remembered } from './witness.ts';

/** A request is overdue after so many ticks, and so late by less than one. */
const TICKS_OF_TIMEOUT = 8;

/** An export of another server as a block device. */
export class RemoteDevice implements BlockDevice, LinkOwner {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;
  private readonly options: RemoteDeviceOptions;
  private readonly hasFua: boolean;
  private readonly hasFlush: boolean;
  private readonly canZero: boolean;
  private readonly pool = new Pool<RemoteRequest>(64, 65536, () => new RemoteRequest());
  private readonly age = new AgeList();
  /** Bios for which there was no record, and requests for which there is no room on a link. */
  private readonly bios = new Ring<Bio>(64);
  private readonly queue = new Ring<RemoteRequest>(64);
  /** By slot: the link in use, and what a lost one left, until it is fenced. */
  private readonly links: (RemoteLink | null)[];
  private readonly parked: Ring<RemoteRequest>[] = [];
  /** By slot: fenced, but not connected again before the others have flushed. */
  private readonly isHeldBack: boolean[];
  /** By slot: a connection that is looked at, and not in use yet. */
  private readonly checks: (LinkCheck | null)[];
  private readonly witness: Witness;
  private linksUp = 0;
  private ticks = 0;
  private isTicking = false;
  /** Acknowledged and perhaps only cached by the server; and of those, flushed since. */
  private acknowledged = 0;
  private flushed = 0;
  private isProbing = false;
  /** Not connected yet. What an earlier daemon has written there, and we rely on, may be cached. */
  private isFresh = true;
  /** Lost links of which something may still take effect. */
  private unfenced = 0;
  /** Given up: every bio ends with an error. */
  private dead = false;
  /** Acknowledged writes may be lost, and no FLUSH has failed for it yet. */
  private mustTell = false;
  private isRefused = false;
  /** Dead, and its server did not even show what it holds: connected again when somebody asks for something. */
  private isTired = false;
  /** Of what ends because the device is dead. */
  private goneErrno: number = ERRNO.ENOTCONN;

  constructor(options: RemoteDeviceOptions) {
    const { facts, links } = options;
    this.options = options;
    this.name = options.name;
    this.loop = options.loop;
    this.sectors = facts.sizeBytes / SECTOR_SIZE;
    this.limits = limitsOf(facts, options.readOnly);
    this.hasFua = has(facts, TRANSMISSION_FLAG.SEND_FUA);
    this.hasFlush = has(facts, TRANSMISSION_FLAG.SEND_FLUSH);
    this.canZero = has(facts, TRANSMISSION_FLAG.SEND_WRITE_ZEROES);
    this.acknowledged = this.hasFlush && !options.readOnly ? 1 : 0;
    this.links = new Array<RemoteLink | null>(links).fill(null);
    this.isHeldBack = new Array<boolean>(links).fill(false);
    this.checks = new Array<LinkCheck | null>(links).fill(null);
    const blockSectors = this.limits.logicalBlockSize / SECTOR_SIZE;
    this.witness = new Witness(blockSectors, options.remembered ?? []);
    for (let slot = 0; slot < links; slot += 1) this.parked.push(new Ring<RemoteRequest>(16));
  }

  /** Bios that have not ended. */
  get inFlight(): number {
    return this.age.length + this.bios.length;
  }

  /** It answers everything with an error, until its server is back. */
  get isDead(): boolean {
    return this.dead;
  }

  /** A server has shown that it is another one, or has not kept what it promised to. */
  get isStale(): boolean {
    return this.goneErrno === ERRNO.ESTALE;
  }

  /** The slot's connection is not used yet: its server shows what it holds. */
  isLooking(slot: number): boolean {
    return this.checks[slot] !== null;
  }

  /** What the export must hold, for a device that is to take this one's place. Nothing is in flight. */
  remember(): readonly Remembered[] {
    return this.witness.image(this.flushed);
  }

  submit(bio: Bio): void {
    bio.error = bioError(this, bio);
    if (bio.error !== 0 || (bio.sectors === 0 && bio.op !== REQ_OP.FLUSH)) this.loop.defer(bio);
    else if (this.dead) this.endDead(bio);
    else if (bio.op === REQ_OP.FLUSH && !this.hasFlush) this.loop.defer(bio);
    else this.admit(bio);
  }

  /** BLOCK_STATUS. A server without it, or one that is gone, is taken to hold data. */
  askZeroes(query: ZeroQuery): void {
    query.count = 0;
    const canAnswer = (this.options.facts.allocationId ?? null) !== null && !this.dead;
    const request = canAnswer ? this.pool.get() : undefined;
    if (request === undefined) {
      this.loop.defer(query);
      return;
    }
    request.bio = null;
    request.query = query;
    this.begin(request);
  }

  private admit(bio: Bio): void {
    const request = this.pool.get();
    if (request === undefined) {
      this.bios.push(bio);
      return;
    }
    request.bio = bio;
    this.begin(request);
  }

  private begin(request: RemoteRequest): void {
    this.enter(request);
    this.send(request);
  }

  private enter(request: RemoteRequest): void {
    request.prepare(this.hasFua, this.canZero);
    request.needsFlush &&= this.hasFlush;
    request.isOverdue = false;
    request.isBegun = false;
    request.isMingled = false;
    request.tick = this.ticks;
    this.age.push(request);
    if (!this.isTicking) this.armTick();
  }

  /** To the link with the least to do; into the queue when there is none. */
  private send(request: RemoteRequest): void {
    const link = this.queue.length === 0 ? this.bestLink() : null;
    if (link === null) this.queue.push(request);
    else this.sendOn(link, request);
  }

  private sendOn(link: RemoteLink, request: RemoteRequest): void {
    if (request.type === COMMAND.FLUSH) {
      request.mark = this.acknowledged;
      this.witness.flushSent();
    } else if (request.isMutation && !request.isBegun) {
      request.isBegun = true;
      this.witness.begins(request, this.age.oldest);
    }
    const { bio } = request;
    link.start(request, bio !== null && (bio.flags & REQ_FLAG.SYNC) !== 0);
  }

  private bestLink(): RemoteLink | null {
    let best: RemoteLink | null = null;
    for (let slot = 0; slot < this.links.length; slot += 1) {
      const link = this.links[slot]!;
      if (link === null || link.isFull) continue;
      if (best === null || link.inFlight < best.inFlight) best = link;
    }
    return best;
  }

  private pump(): void {
    while (this.queue.length > 0 && !this.dead) {
      const link = this.bestLink();
      if (link === null) return;
      this.sendOn(link, this.queue.shift()!);
    }
  }

  // --- ends

  requestEnded(_link: RemoteLink, request: RemoteRequest, errno: number): void {
    if (request.check !== null) {
      this.checked(request.check, request, errno);
      return;
    }
    if (errno === 0) {
      if (request.type === COMMAND.FLUSH) {
        if (request.mark > this.flushed) this.flushed = request.mark;
        this.witness.flushed(this.flushed);
      } else if (request.isMutation) this.mutated(request);
      if (request.needsFlush) {
        request.needsFlush = false;
        request.type = COMMAND.FLUSH;
        request.flags = 0;
        this.send(request);
        return;
      }
    } else if (request.type === COMMAND.FLUSH || (request.flags & COMMAND_FLAG.FUA) !== 0) {
      this.witness.flushFailed(this.flushed);
    }
    this.end(request, errno);
    if (this.queue.length > 0) this.pump();
  }

  private mutated(request: RemoteRequest): void {
    const isDurable = !this.hasFlush || (request.flags & COMMAND_FLAG.FUA) !== 0;
    if (!isDurable) this.acknowledged += 1;
    this.witness.ended(request, this.acknowledged, isDurable);
  }

  private end(request: RemoteRequest, errno: number): void {
    const { bio, query } = request;
    if (errno !== 0 && request.isMutation && request.isBegun) this.witness.failed(bio!);
    this.age.remove(request);
    request.bio = null;
    request.query = null;
    this.pool.put(request);
    if (query !== null) {
      if (errno !== 0) query.count = 0;
      this.loop.defer(query);
    } else if (bio === null) this.probed(errno);
    else {
      bio.error = errno;
      this.loop.defer(bio);
    }
    if (this.bios.length > 0 && !this.dead) this.admit(this.bios.shift()!);
  }

  private endDead(bio: Bio): void {
    bio.error = this.goneErrno;
    this.loop.defer(bio);
    this.tell(bio);
    this.revive();
    if (!this.isTired || this.unfenced > 0) return;
    this.isTired = false;
    this.connectHeld();
  }

  // --- links

  /** The host has a link for the slot; its transport is attached. It is used when it has been looked at. */
  connected(link: RemoteLink): void {
    const { slot } = link;
    assert(this.links[slot] === null && this.checks[slot] === null, 'a slot was connected twice');
    const blockSectors = this.limits.logicalBlockSize / SECTOR_SIZE;
    // eslint-disable-next-line no-restricted-syntax -- once a connection
    const check = new LinkCheck(link, this.witness, this.sectors, blockSectors);
    this.checks[slot] = check;
    if (this.isFresh && this.isCached) this.probe();
    this.isFresh = false;
    this.look(check);
  }

  /** Asks the server of a new connection for the next thing that it must hold. */
  private look(check: LinkCheck): void {
    const { link } = check;
    if (!check.next(this.flushed)) {
      this.proven(check);
      return;
    }
    const request = this.pool.get();
    if (request === undefined) {
      link.lose('no record left to see what its server holds', false);
      return;
    }
    request.bio = check.bio;
    request.check = check;
    this.enter(request);
    link.start(request, false);
  }

  private checked(check: LinkCheck, request: RemoteRequest, errno: number): void {
    this.drop(request);
    if (check.judge(errno, this.acknowledged) === VERDICT.OTHER) this.stale();
    else this.look(check);
  }

  /** A request for a link's sake. */
  private drop(request: RemoteRequest): void {
    this.age.remove(request);
    request.bio = null;
    request.check = null;
    this.pool.put(request);
  }

  private proven(check: LinkCheck): void {
    const { link } = check;
    this.witness.isWhole = true;
    this.checks[link.slot] = null;
    this.links[link.slot] = link;
    this.linksUp += 1;
    this.revive();
    this.pump();
  }

  /** What is there is not what our server must hold. Final: nothing there is to be believed. */
  private stale(): void {
    this.goneErrno = ERRNO.ESTALE;
    this.isRefused = true;
    this.die(
      'it does not hold what it acknowledged as flushed: another server, or another content',
    );
    for (let slot = 0; slot < this.links.length; slot += 1) this.loseLinks(slot, 'refused');
  }

  private loseLinks(slot: number, why: string): void {
    this.links[slot]?.lose(why, false);
    this.checks[slot]?.link.lose(why, false);
  }

  /** Another server answers where ours was. Final. */
  refused(why: string): void {
    this.isRefused = true;
    this.die(why);
  }

  linkLost(link: RemoteLink, why: string): void {
    if (this.links[link.slot] === link) {
      this.links[link.slot] = null;
      this.linksUp -= 1;
    } else this.checks[link.slot] = null;
    this.unfenced += 1;
    if (this.dead) return;
    this.options.report.lost(why);
    if (!this.isCached) return;
    if (this.linksUp > 0) this.probe();
    else this.die(why);
  }

  linkReleased(link: RemoteLink): void {
    for (let one = link.takeBack(); one !== null; one = link.takeBack()) {
      if (one.check !== null) this.drop(one);
      else if (this.dead) this.endUnanswered(one);
      else this.parked[link.slot]!.push(one);
    }
    this.options.host.fence(link);
  }

  /** Nothing of the slot's last link can take effect any more: what it left is sent again. */
  fenced(slot: number): void {
    this.unfenced -= 1;
    const parked = this.parked[slot]!;
    for (let one = parked.shift(); one !== undefined; one = parked.shift()) {
      one.prepare(this.hasFua, this.canZero);
      one.needsFlush &&= this.hasFlush;
      this.queue.push(one);
    }
    if (this.isProbing || this.isTired) this.isHeldBack[slot] = true;
    else if (!this.isRefused) this.options.host.connect(slot);
    this.revive();
    this.pump();
  }

  /** Acknowledged writes that the server may hold in memory only. */
  private get isCached(): boolean {
    return this.acknowledged > this.flushed;
  }

  /**
   * By a flush: that a link which was there before still leads to the server that has what it
   * acknowledged; at the first connection, that what was there before us is kept.
   */
  private probe(): void {
    if (this.isProbing) return;
    const request = this.pool.get();
    if (request === undefined) {
      this.die('no record left to see whether its writes are safe');
      return;
    }
    this.isProbing = true;
    request.bio = null;
    this.begin(request);
  }

  private probed(errno: number): void {
    this.isProbing = false;
    if (errno !== 0 && !this.dead)
      this.die('a flush of its own failed: it may not keep what it holds');
    this.connectHeld();
  }

  private connectHeld(): void {
    if (this.isProbing || this.isTired) return;
    for (let slot = 0; slot < this.isHeldBack.length; slot += 1) {
      if (!this.isHeldBack[slot]!) continue;
      this.isHeldBack[slot] = false;
      if (!this.isRefused) this.options.host.connect(slot);
    }
  }

  // --- death and revival

  /** Ends everything, now or as soon as its memory is free, and whatever comes. */
  private die(why: string): void {
    if (this.dead) return;
    this.dead = true;
    this.mustTell = this.isCached;
    this.witness.died(this.flushed);
    this.options.report.givenUp(why, this.mustTell);
    for (let slot = 0; slot < this.links.length; slot += 1) {
      this.loseLinks(slot, 'given up');
      const parked = this.parked[slot]!;
      for (let one = parked.shift(); one !== undefined; one = parked.shift()) {
        this.endUnanswered(one);
      }
    }
    for (let one = this.queue.shift(); one !== undefined; one = this.queue.shift()) {
      this.endUnanswered(one);
    }
    for (let bio = this.bios.shift(); bio !== undefined; bio = this.bios.shift()) {
      this.endDead(bio);
    }
  }

  private endUnanswered(request: RemoteRequest): void {
    if (request.bio !== null) this.tell(request.bio);
    this.end(request, request.isOverdue ? ERRNO.ETIMEDOUT : this.goneErrno);
  }

  /** This bio ends with an error. A failed FLUSH says that nothing since the last one is safe. */
  private tell(bio: Bio): void {
    if (bio.op === REQ_OP.FLUSH || (bio.flags & REQ_FLAG.FUA) !== 0) this.mustTell = false;
  }

  /** Its server is back, nothing old can take effect, and nobody relies on what may be lost. */
  private revive(): void {
    if (!this.dead || this.mustTell || this.isRefused) return;
    if (this.linksUp === 0 || this.unfenced > 0 || this.age.length > 0) return;
    this.dead = false;
    this.acknowledged = 0;
    this.flushed = 0;
    this.options.report.isBack();
  }

  // --- time

  private armTick(): void {
    this.isTicking = true;
    this.options.clock.after(this.options.timeoutMs / TICKS_OF_TIMEOUT, this.tick);
  }

  private readonly tick = (): void => {
    this.isTicking = false;
    this.ticks += 1;
    let isLate = false;
    for (let one = this.age.oldest; one !== null; one = one.younger) {
      if (this.ticks - one.tick <= TICKS_OF_TIMEOUT) break;
      one.isOverdue = true;
      isLate = true;
    }
    if (isLate) this.giveUp();
    if (this.age.length > 0) this.armTick();
  };

  private giveUp(): void {
    for (let slot = 0; slot < this.checks.length; slot += 1) this.checks[slot]?.late();
    const why = `no answer within ${this.options.timeoutMs} ms`;
    // Of a dead device only a connection that is looked at can be late: the next one waits until it is asked for.
    if (this.dead) this.isTired = true;
    else this.die(why);
    for (let slot = 0; slot < this.links.length; slot += 1)
      this.checks[slot]?.link.lose(why, false);
  }
}
