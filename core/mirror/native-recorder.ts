import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { isIn, STANDING, type Leg, type LegState } from './leg.ts';
import { SUPERBLOCK_BYTES, SUPERBLOCK_SECTORS, superblockSectors } from './native-layout.ts';
import type { LegMetadata } from './assemble-native.ts';
import { Farewells, type CommonSuperblock } from './native-farewell.ts';
import { eraseNative, NO_MARK } from './native-format.ts';
import { FoundSuperblocks, loseAll, type FoundSuperblock } from './native-found.ts';
import { OUTDATED, type LegRecord, type MirrorRecord, type MirrorRecorder } from './record.ts';
import type { MirrorSet } from './set.ts';
import { encodeSuperblock, entryOf, type LegEntry, type RunMark } from './superblock.ts';

/** What stays the same in all superblocks of a run. */
export interface NativeIdentity {
  readonly setUuid: string;
  readonly setName: string;
  readonly zeroed: boolean;
  /** 16 hex digits that no run of the set had before. */
  readonly run: string;
  /** Ends of the runs before, newest first. */
  readonly history: readonly RunMark[];
  /** The generation the run begins with, and the last sequence that is taken. */
  readonly generation: number;
  readonly sequence: number;
  /** Milliseconds since 1970: core has no such clock. */
  readonly wallClockMs: () => number;
}

/** What the recorder knows of a leg beside what the set knows. */
export interface LegPast {
  readonly entry: LegEntry;
  /** The last superblock that is on it for certain, and the copy it is in. */
  readonly last: RunMark;
  readonly copy: 'a' | 'b';
  /** Its own, as it was found; null: it was not there, or carried none. */
  readonly found: FoundSuperblock | null;
}

/** What the set remembers of a leg that is out. Plain data. */
export interface LegHistory {
  readonly setUuid: string;
  readonly legUuid: string;
  /** Runs the set goes back to, and that of the last superblock the leg was given for certain. */
  readonly runs: readonly string[];
}

interface LegMemory {
  state: LegState;
  changedGeneration: number;
  clearedWhenLeft: number;
  last: RunMark;
  copy: 'a' | 'b';
  /** Its lack bits have been written since it is being filled. */
  lacksWritten: boolean;
}

/**
 * Keeps the record in the superblocks of the legs: each attempt is one dm-io write to all legs that
 * stay, each over its older copy. It is durable when a member has it and every leg that has not is
 * out of the set; then no leg that is believed again has missed it. After that the other copy gets
 * the same, so that one copy that rots takes nothing with it (I16).
 */
export class NativeRecorder implements MirrorRecorder, DmIoOwner {
  private readonly identity: NativeIdentity;
  private readonly request = new DmIoRequest();
  private readonly found: FoundSuperblocks;
  private readonly memories = new Map<string, LegMemory>();
  private readonly farewells = new Farewells(this.memories);
  /** What the write under way says, or the last one said. */
  private common: CommonSuperblock | null = null;
  private readonly runStart: number;
  private set: MirrorSet | null = null;
  private sequence: number;
  private bytes = new Uint8Array(0);
  private targets: Leg[] = [];
  private done: (errno: number) => void = () => undefined;
  /** The write under way is that of the second copies; a record waits until they are done. */
  private isSecond = false;
  private waiting: (() => void) | null = null;
  private whenSettled: (() => void) | null = null;

  constructor(identity: NativeIdentity, past: readonly LegPast[]) {
    this.identity = identity;
    this.sequence = identity.sequence;
    this.runStart = identity.sequence + 1;
    this.request.owner = this;
    this.request.op = REQ_OP.WRITE;
    this.request.flags = REQ_FLAG.FUA;
    this.found = new FoundSuperblocks(past.flatMap(({ found }) => found ?? []));
    for (const { entry, last, copy } of past) {
      const { state, changedGeneration, clearedWhenLeft } = entry;
      const memory = { state, changedGeneration, clearedWhenLeft, last, copy, lacksWritten: false };
      this.memories.set(entry.uuid, memory);
    }
  }

  attach(set: MirrorSet): void {
    this.set = set;
    this.found.attach(set);
    this.farewells.attach(set);
  }

  /** A leg that comes later carries superblocks up to this sequence: ours must be newer. */
  noteSequence(sequence: number): void {
    this.sequence = Math.max(this.sequence, sequence);
  }

  /** A leg that comes with a superblock of this set: the next one goes over the other copy. */
  noteCopy(legUuid: string, copy: 'a' | 'b'): void {
    const memory = this.memories.get(legUuid);
    if (memory !== undefined) memory.copy = copy;
  }

  /** What a leg that is out may come from; null: nobody knows the leg. */
  pastOf(legUuid: string): LegHistory | null {
    const memory = this.memories.get(legUuid);
    if (memory === undefined) return null;
    const { setUuid, run, history } = this.identity;
    return { setUuid, legUuid, runs: [memory.last.run, run, ...history.map((mark) => mark.run)] };
  }

  record(state: MirrorRecord, done: (errno: number) => void): void {
    this.done = done;
    this.farewells.hold();
    const begin = this.prepare(state);
    if (this.isSecond) this.waiting = begin;
    else begin();
  }

  /** Fixes what the record says; to be called when nothing is under way. */
  private prepare(state: MirrorRecord): () => void {
    const set = this.owner;
    assert(state.legs.length === set.legs.length, 'a record of other legs');
    const legs = set.legs.map((leg, i) => ({ leg, record: state.legs[i] }));
    const entries = legs.map(({ leg, record }) => this.entryOf(leg, record, state.generation));
    // Before a superblock says that a leg is being filled, its lack bits must count.
    const slots = legs.flatMap(({ leg }) => (this.needsLacks(leg) ? [leg.slot] : []));
    const sent = legs.flatMap(({ leg, record }) => (isIn(record?.state) ? [leg] : []));
    const clearedGeneration = set.clearedGeneration;
    const send = (): void => {
      this.send(sent, this.commonOf(state, clearedGeneration, entries));
    };
    const strangers = sent.filter(({ isStranger }) => isStranger);
    return () => {
      this.found.keep((errno) => {
        if (errno !== 0) this.done(errno);
        else
          this.wipe(strangers, () => {
            this.writeLacks(slots, send);
          });
      });
    };
  }

  private writeLacks(slots: readonly number[], send: () => void): void {
    if (slots.length === 0) {
      send();
      return;
    }
    this.owner.regionLog.writeLacks(slots, (errno) => {
      if (errno === 0) this.lacksWritten(slots);
      if (errno === 0) send();
      else this.done(errno);
    });
  }

  /**
   * A leg that is new, or may be another than it was: what it carries must not be found beside ours,
   * and might have a higher sequence.
   */
  private wipe(strangers: readonly Leg[], done: () => void): void {
    const [leg, ...others] = strangers;
    if (leg === undefined) {
      done();
      return;
    }
    if (!leg.isActive || leg.device === null) {
      this.wipe(others, done);
      return;
    }
    leg.enter();
    eraseNative(this.owner.client, [leg.device], (errno) => {
      leg.leave();
      if (errno !== 0) this.failLeg(leg, errno);
      else leg.isStranger = false;
      this.wipe(others, done);
    });
  }

  /**
   * What a leg carries that is out and comes back. It is as it left if that is the last superblock it
   * was given for certain; then it lacks what is known. null: so it is.
   */
  strangeness(leg: Leg, found: LegMetadata): string | null {
    const memory = leg.uuid === null ? undefined : this.memories.get(leg.uuid);
    if (memory === undefined) return 'nothing is known of it';
    if (found.kind === 'invalid') return found.reason;
    if (found.kind === 'none') return 'it carries no metadata of a mirror';
    const { setUuid, legUuid, run, sequence, generation } = found.superblock;
    if (setUuid !== this.identity.setUuid) return `it belongs to another set, ${setUuid}`;
    if (legUuid !== leg.uuid) return `it is another leg, ${legUuid}`;
    const { last } = memory;
    // What failed on the leg, for what we know, may have come to it all the same; and the table that
    // named its last superblock may itself have been its last.
    const [before] = this.identity.history;
    const mayBeNewer =
      run === this.identity.run || (run === before?.run && sequence <= before.sequence);
    const isOfLast = run === last.run && sequence >= last.sequence;
    if (!isOfLast || (sequence > last.sequence && !mayBeNewer)) {
      return `its metadata (generation ${generation}) is not what it was given last: it was put back, or started apart`;
    }
    if (generation < memory.clearedWhenLeft) return 'too much has been cleared since it left';
    memory.copy = found.copy;
    return null;
  }

  private commonOf(
    state: MirrorRecord,
    clearedGeneration: number,
    legs: readonly LegEntry[],
  ): CommonSuperblock {
    const { identity } = this;
    return {
      setUuid: identity.setUuid,
      setName: identity.setName,
      sequence: this.sequence + 1,
      generation: state.generation,
      clearedGeneration,
      run: identity.run,
      runStart: this.runStart,
      runGeneration: identity.generation,
      history: identity.history,
      clean: state.clean,
      zeroed: identity.zeroed,
      writtenAtMs: identity.wallClockMs(),
      dataSectors: this.owner.sectors,
      regionSectors: this.owner.regionSectors,
      scrub: this.owner.scrub.place(),
      legs,
    };
  }

  private entryOf(leg: Leg, record: LegRecord | undefined, generation: number): LegEntry {
    assert(record !== undefined && leg.uuid !== null, 'a leg of a native set without a uuid');
    const memory = this.memoryOf(leg.uuid, record.state, generation);
    const wasIn = isIn(memory.state);
    if (record.state !== memory.state) {
      memory.changedGeneration = generation;
      memory.lacksWritten = false;
    }
    if (wasIn && !isIn(record.state)) memory.clearedWhenLeft = this.owner.clearedGeneration;
    memory.state = record.state;
    return {
      uuid: leg.uuid,
      slot: leg.slot,
      state: record.state,
      writeMostly: record.writeMostly,
      failedByHand: record.failedByHand,
      replaces: record.replaces,
      errors: record.errors,
      changedGeneration: memory.changedGeneration,
      clearedWhenLeft: memory.clearedWhenLeft,
      last: memory.last,
      name: record.path,
    };
  }

  private memoryOf(uuid: string, state: LegState, generation: number): LegMemory {
    let memory = this.memories.get(uuid);
    if (memory === undefined) {
      memory = {
        state,
        changedGeneration: generation,
        clearedWhenLeft: this.owner.clearedGeneration,
        last: NO_MARK,
        copy: 'b',
        lacksWritten: false,
      };
      this.memories.set(uuid, memory);
    }
    return memory;
  }

  private needsLacks(leg: Leg): boolean {
    const memory = leg.uuid === null ? undefined : this.memories.get(leg.uuid);
    if (memory === undefined || memory.lacksWritten) return false;
    // One that is out and has lost what it was given lacks more than what is dirty.
    return memory.state === 'resyncing' || (leg.isStranger && memory.state !== 'in-sync');
  }

  private lacksWritten(slots: readonly number[]): void {
    for (const { uuid, slot } of this.owner.legs) {
      const memory = uuid === null ? undefined : this.memories.get(uuid);
      if (memory !== undefined && slots.includes(slot)) memory.lacksWritten = true;
    }
  }

  private send(legs: readonly Leg[], common: CommonSuperblock): void {
    const { request } = this;
    this.common = common;
    // A leg that has left since will be said to be out by the next record.
    this.targets = legs.filter((leg) => leg.isActive && leg.device !== null);
    const length = this.targets.length * SUPERBLOCK_BYTES;
    if (this.bytes.length < length || request.isLate) this.bytes = new Uint8Array(length);
    request.isLate = false;
    request.clearRegions();
    request.memory.setBytes(this.bytes, 0);
    for (const [i, leg] of this.targets.entries()) {
      const { device, uuid, slot } = leg;
      if (device === null || uuid === null) continue;
      const superblock = { ...common, legUuid: uuid, slot, deviceSectors: device.sectors };
      encodeSuperblock(superblock, this.bytes, i * SUPERBLOCK_BYTES);
      this.addTarget(leg, i);
      leg.enter();
    }
    this.owner.client.submit(request);
  }

  /** The i-th superblock of the memory goes to the leg's copy that is not the newest. */
  private addTarget({ device, uuid }: Leg, i: number): void {
    if (device === null || uuid === null) return;
    const { a, b } = superblockSectors(device.sectors);
    const sector = this.memories.get(uuid)?.copy === 'a' ? b : a;
    this.request.addRegion(device, sector, SUPERBLOCK_SECTORS, i * SUPERBLOCK_SECTORS);
  }

  dmIoDone(request: DmIoRequest): void {
    for (const leg of this.targets) leg.leave();
    if (this.isSecond) this.secondDone(request);
    else this.firstDone(request);
  }

  private firstDone(request: DmIoRequest): void {
    // A member also by this very superblock: who became one since is none to a start that finds it.
    const memberTook = this.targets.some(
      (leg, i) => this.isNamedMember(leg) && !request.errorBits.test(i),
    );
    if (!memberTook) {
      const isOutdated = request.errorBits.isEmpty && this.targets.length > 0;
      this.done(isOutdated ? OUTDATED : loseAll(this.owner, request, this.targets));
      return;
    }
    // Only now is the number taken: an attempt that nobody has may be made again over itself.
    this.sequence += 1;
    const last = { run: this.identity.run, sequence: this.sequence };
    for (const [i, leg] of this.targets.entries()) {
      const memory = this.memories.get(leg.uuid ?? '');
      assert(memory !== undefined, 'a superblock of a leg nobody knows');
      if (request.errorBits.test(i)) {
        this.failLeg(leg, request.regions[i]?.error ?? ERRNO.EIO);
        continue;
      }
      memory.last = last;
      memory.copy = memory.copy === 'a' ? 'b' : 'a';
    }
    this.sendSecond();
    this.done(ERRNO.OK);
  }

  /** In sync, and called so by what was written. */
  private isNamedMember({ standing, uuid }: Leg): boolean {
    if (standing !== STANDING.MEMBER || this.common === null) return false;
    return entryOf(this.common, uuid)?.state === 'in-sync';
  }

  /** The same bytes once more, to the other copy of each leg that stays. */
  private sendSecond(): void {
    this.isSecond = true;
    this.request.clearRegions();
    const targets: Leg[] = [];
    for (const [i, leg] of this.targets.entries()) {
      if (!leg.isActive || leg.device === null) continue;
      targets.push(leg);
      this.addTarget(leg, i);
      leg.enter();
    }
    this.targets = targets;
    this.owner.client.submit(this.request);
  }

  private secondDone(request: DmIoRequest): void {
    this.isSecond = false;
    for (const [i, leg] of this.targets.entries()) {
      if (request.errorBits.test(i)) this.failLeg(leg, request.regions[i]?.error ?? ERRNO.EIO);
    }
    const { waiting, whenSettled } = this;
    this.waiting = null;
    this.whenSettled = null;
    if (waiting !== null) waiting();
    else if (this.common !== null) this.farewells.say(this.common);
    if (whenSettled !== null) this.farewells.settle(whenSettled);
  }

  settle(done: () => void): void {
    if (this.isSecond) this.whenSettled = done;
    else this.farewells.settle(done);
  }

  private failLeg(leg: Leg, errno: number): void {
    if (leg.isActive) this.owner.failLeg(leg, 'write', errno);
  }

  private get owner(): MirrorSet {
    assert(this.set !== null, 'a native recorder without a set');
    return this.set;
  }
}
