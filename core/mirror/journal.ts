import { assert } from '../base/assert.ts';
import { Ring } from '../base/ring.ts';
import { OUTDATED, type MirrorRecord, type MirrorRecorder } from './record.ts';

/** Somebody who may go on only when the record says what he knows. */
export interface RecordWaiter {
  /** The version that must be durable; set by `wait`. */
  needVersion: number;
  /** 0: it is durable. Else the errno of the attempt: it may not be. */
  recorded(errno: number): void;
}

/**
 * Keeps the durable record up to date, one attempt at a time, the newest state each time, and holds
 * back whoever depends on it. Law D2 in one place: an acknowledgement that depends on a change of
 * the set waits here until the change is durable.
 */
export class Journal {
  private readonly recorder: MirrorRecorder;
  private readonly snapshot: () => MirrorRecord;
  private readonly onDurable: (record: MirrorRecord) => void;
  private readonly waiters = new Ring<RecordWaiter>(64);
  private version = 0;
  private durableVersion = 0;
  /** The last change that an acknowledgement depends on. */
  private ackVersion = 0;
  /** The last change that not even a read may outrun. */
  private guardVersion = 0;
  private recording = false;
  private frozen = false;
  private whenFrozen: (() => void) | null = null;

  constructor(
    recorder: MirrorRecorder,
    snapshot: () => MirrorRecord,
    onDurable: (record: MirrorRecord) => void,
  ) {
    this.recorder = recorder;
    this.snapshot = snapshot;
    this.onDurable = onDurable;
  }

  /** True while a change is not durable yet: acknowledgements must wait. */
  get isBehind(): boolean {
    return this.durableVersion < this.ackVersion;
  }

  /** True while a change that decides what reads return is not durable yet. */
  get isGuardBehind(): boolean {
    return this.durableVersion < this.guardVersion;
  }

  /** As `changed`, for a member that has left: after a crash it must not be believed again. */
  memberLeft(): void {
    this.version += 1;
    this.ackVersion = this.version;
    this.guardVersion = this.version;
    this.start();
  }

  /** The state that `snapshot` gives has changed; recording starts if it is not under way. */
  changed(): void {
    this.version += 1;
    this.ackVersion = this.version;
    this.start();
  }

  /** As `changed`, where nothing a client is told depends on it. */
  changedQuietly(waiter: RecordWaiter): void {
    this.version += 1;
    waiter.needVersion = this.version;
    this.waiters.push(waiter);
    this.start();
  }

  /** `waiter.recorded` is called when everything up to now is durable, never from inside this call. */
  wait(waiter: RecordWaiter): void {
    assert(this.isBehind, 'waiting for a record that is durable');
    waiter.needVersion = this.version;
    this.waiters.push(waiter);
    this.start();
  }

  /** Records no more until `thaw`; `done` when the attempt under way has ended, perhaps from inside. */
  freeze(done: () => void): void {
    assert(!this.frozen, 'a journal was frozen twice');
    this.frozen = true;
    if (this.recording) this.whenFrozen = done;
    else done();
  }

  thaw(): void {
    assert(this.frozen && this.whenFrozen === null, 'a journal was thawed that was not frozen');
    this.frozen = false;
    if (this.isBehind) this.start();
  }

  private start(): void {
    if (this.recording || this.frozen) return;
    this.recording = true;
    const version = this.version;
    const record = this.snapshot();
    this.recorder.record(record, (errno) => {
      this.recorded(version, record, errno);
    });
  }

  private recorded(version: number, record: MirrorRecord, errno: number): void {
    assert(this.recording, 'a record ended that was not under way');
    this.recording = false;
    if (errno === 0) {
      this.durableVersion = version;
      this.onDurable(record);
    }
    assert(errno !== OUTDATED || version < this.version, 'outdated by nothing that has changed');
    // A failed attempt answers all who wait: the next change, or the next who waits, tries again.
    const count = this.waiters.length;
    for (let i = 0; i < count; i += 1) {
      const waiter = this.waiters.shift();
      assert(waiter !== undefined, 'a record waiter vanished');
      const mustWait = errno === OUTDATED || (errno === 0 && waiter.needVersion > version);
      if (mustWait) this.waiters.push(waiter);
      else waiter.recorded(errno);
    }
    const { whenFrozen } = this;
    this.whenFrozen = null;
    whenFrozen?.();
    const isBehind = this.durableVersion < this.version;
    const mayGoOn = errno === 0 || errno === OUTDATED;
    if (this.waiters.length > 0 || (mayGoOn && isBehind)) this.start();
  }
}
