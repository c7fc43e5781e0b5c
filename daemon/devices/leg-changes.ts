/** Legs of a running mirror come and go: opened, checked and closed here, changed where the set lives. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ControlError } from '../../core/control/error.ts';
import type { TargetEnvironment } from '../../core/dm/target.ts';
import type { LegStatus } from '../../core/control/status.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import { RemoteLeg } from '../remote/leg.ts';
import { refuseTwins } from './assemble.ts';
import type { LegFacts } from './leg-calls.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { identityAt, identityOf, type LegIdentity } from './leg-identity.ts';
import { openLegOf, refuseForeignContent, refuseStranger, type OpenLegs } from './legs.ts';
import type { LegDevice } from './open-leg.ts';
import { isWiped } from './wiped.ts';
import type { DeviceSnapshot, Runner } from './runner.ts';

/** Requests of a leg's earlier life get this long to end; an answer does not wait longer for them. */
const DRAIN_MS = 5000;
const DRAIN_PAUSE_MS = 50;

export interface AddOptions {
  readonly writeMostly: boolean;
  /** Take it whatever it carries. */
  readonly force: boolean;
  /** Make the leg file when it is not there. */
  readonly create: boolean;
  /** The leg that leaves when the new one is in sync, as the user named it. */
  readonly replaces: string | null;
}

export interface Added extends LegFacts {
  readonly isCreated: boolean;
  readonly replaces: string | null;
}

export interface Removed {
  readonly leg: string;
  /** False: requests are under way there; its file is let go when they have ended. */
  readonly isReleased: boolean;
}

/**
 * One change at a time. A refused one leaves everything as it was: what it has opened is closed, what
 * it has made is removed.
 *
 *   add      open, lock -> check size and content -> the set takes it, durably
 *   re-add   idle, and on record that it is out -> close -> open again -> still the same? -> the set
 *   remove   out of the set, durably -> idle (the event `leg-removed`) -> close
 */
export class LegChanges {
  private readonly name: string;
  private readonly runner: Runner;
  private readonly legs: OpenLegs;
  private readonly environment: TargetEnvironment;
  private last: Promise<unknown> = Promise.resolve();
  private stopped = false;
  /** What was at a path when it was opened or, if it is closed now, when it was closed. */
  private readonly known = new Map<string, LegIdentity>();
  private readonly releases = new Map<string, () => void>();
  private readonly closing = new Set<Promise<void>>();

  constructor(name: string, runner: Runner, legs: OpenLegs, environment: TargetEnvironment) {
    this.name = name;
    this.runner = runner;
    this.legs = legs;
    this.environment = environment;
  }

  /** @throws ControlError no-leg; would-lose-data; io */
  fail(leg: string): Promise<LegFacts> {
    return this.alone(() => this.runner.call('fail-leg', { leg }));
  }

  /** @throws ControlError exists; what opening refuses; would-lose-data: content; bad-leg; io */
  add(path: string, options: AddOptions): Promise<Added> {
    return this.alone(() => this.addAlone(path, options));
  }

  /** @throws ControlError no-leg; would-lose-data: the last good one; io */
  remove(leg: string): Promise<Removed> {
    return this.alone(() => this.removeAlone(leg));
  }

  /**
   * Takes a leg in again; one that is in already stays as it is.
   * @throws ControlError no-leg; busy; would-lose-data: it is no copy of ours; bad-leg; io
   */
  readd(leg: string, force: boolean): Promise<LegFacts> {
    return this.alone(() => this.readdAlone(leg, force));
  }

  /** From the set: a leg has gone, durably, and nothing is under way there. */
  heard({ kind, leg }: MirrorEvent): void {
    if (kind !== 'leg-removed' || leg === null) return;
    this.known.delete(leg);
    const closing = this.legs.closeOne(leg).finally(() => {
      this.closing.delete(closing);
      this.releases.get(leg)?.();
      this.releases.delete(leg);
    });
    this.closing.add(closing);
  }

  /** No more changes; fulfilled when the one under way has ended. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.last;
    await Promise.all(this.closing);
  }

  /** One after the other: also a change of the whole table. */
  alone<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.last.then(() => {
      if (this.stopped) throw new ControlError('busy', `device ${this.name} is being stopped`);
      return change();
    });
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async addAlone(path: string, options: AddOptions): Promise<Added> {
    const { writeMostly, force, create } = options;
    const { sizeBytes, legs } = await this.mirror();
    const old =
      options.replaces === null
        ? null
        : await this.runner.call('leg-facts', { leg: options.replaces });
    refuseKnown(this.name, path, legs);
    await refuseTwins([...legs.map(({ leg }) => leg), path]);
    const device = await this.legs.openMore(path, {
      ...this.environment,
      upper: this.name,
      stack: null,
      readOnly: false,
      createBytes: create ? sizeBytes : null,
      createHint: '--create makes it',
      mayBeMissing: false,
    });
    const isCreated = this.legs.created.includes(path);
    try {
      if (!force) {
        const remedy = 'it would be overwritten; --force does it';
        await refuseForeignContent(this.legs, [path], remedy);
      }
      this.known.set(path, await identityOf(device));
      const replaces = old?.leg ?? null;
      const facts = await this.attached(
        device,
        this.runner.call('add-leg', { device: openLegOf(path, device), writeMostly, replaces }),
      );
      return { ...facts, isCreated, replaces };
    } catch (error) {
      if (!isTheSets(error)) await this.legs.undoOne(path);
      throw error;
    }
  }

  private async removeAlone(wanted: string): Promise<Removed> {
    const { leg } = await this.runner.call('leg-facts', { leg: wanted });
    const released = new Promise<true>((tell) => {
      this.releases.set(leg, () => {
        tell(true);
      });
    });
    try {
      await this.runner.call('remove-leg', { leg });
    } catch (error) {
      this.releases.delete(leg);
      throw error;
    }
    const isReleased = await Promise.race([released, sleep(DRAIN_MS, false, { ref: false })]);
    return { leg, isReleased };
  }

  private async readdAlone(wanted: string, force: boolean): Promise<LegFacts> {
    const facts = await this.runner.call('leg-facts', { leg: wanted });
    if (facts.state === 'in-sync' || facts.state === 'resyncing') return facts;
    const path = facts.leg;
    await this.detach(path);
    const before = await this.close(path);
    const found = await identityAt(path);
    const device = await this.reopen(path);
    try {
      const now = await identityOf(device);
      // A file might have been exchanged between the two looks; an export is only looked at open.
      const looked = isLegUri(path) ? now : found;
      const isSame =
        looked !== null &&
        looked.key === now.key &&
        before.isSameAs(looked) &&
        !(await this.isWiped(device));
      if (!isSame && !force) await this.refuseStranger(path);
      this.known.set(path, now);
      return await this.attached(
        device,
        this.runner.call('re-add-leg', { device: openLegOf(path, device), isSame }),
      );
    } catch (error) {
      if (!isTheSets(error)) await this.legs.closeOne(path);
      throw error;
    }
  }

  private async detach(leg: string): Promise<void> {
    const endMs = performance.now() + DRAIN_MS;
    for (;;) {
      try {
        await this.runner.call('detach-leg', { leg });
        return;
      } catch (error) {
        const isBusy = error instanceof ControlError && error.code === 'busy';
        if (!isBusy || performance.now() > endMs) throw error;
        await sleep(DRAIN_PAUSE_MS);
      }
    }
  }

  /** Closes a leg that is open; what is known of it from the time when it was. */
  private async close(path: string): Promise<Before> {
    const device = this.legs.devices.get(path);
    const first = this.known.get(path);
    if (device === undefined) return new Before(first, true);
    // The file system below may be dead: then nobody can tell what comes back in its place.
    const now = await identityOf(device).catch(() => undefined);
    await this.legs.closeOne(path);
    if (now === undefined) this.known.delete(path);
    else this.known.set(path, now);
    return new Before(now, false);
  }

  private reopen(path: string): ReturnType<OpenLegs['openMore']> {
    return this.legs.openMore(path, {
      ...this.environment,
      upper: this.name,
      stack: null,
      readOnly: false,
      createBytes: null,
      createHint: '',
      mayBeMissing: false,
    });
  }

  /** The call goes first: a thread must know a remote leg before its connections come. */
  private attached(device: LegDevice, call: Promise<LegFacts>): Promise<LegFacts> {
    if (device instanceof RemoteLeg) this.legs.handOver(device);
    return call;
  }

  /** Names and sizes say little of an export: one that came back empty must be copied whole. */
  private async isWiped(device: LegDevice): Promise<boolean> {
    if (!(device instanceof RemoteLeg)) return false;
    const { legs } = await this.mirror();
    const member = legs.find(({ leg, state }) => state === 'in-sync' && !isLegUri(leg));
    return member === undefined || (await isWiped(device, member.leg));
  }

  private async refuseStranger(path: string): Promise<void> {
    const { legs } = await this.mirror();
    const member = legs.find(({ state }) => state === 'in-sync');
    if (member === undefined) throw new ControlError('busy', `${this.name} has no leg in sync now`);
    await refuseStranger(this.legs, path, member.leg, 'it would be overwritten; --force does it');
  }

  private async mirror(): Promise<DeviceSnapshot> {
    const snapshot = await this.runner.call('snapshot', null);
    if (snapshot.regions !== null) return snapshot;
    throw new ControlError('no-leg', `device ${this.name} is no mirror, it has no legs`);
  }
}

/** A leg as it was before it is opened again. */
class Before {
  private readonly identity: LegIdentity | undefined;
  /** Nobody held it for a while. */
  private readonly wasAway: boolean;

  constructor(identity: LegIdentity | undefined, wasAway: boolean) {
    this.identity = identity;
    this.wasAway = wasAway;
  }

  isSameAs(now: LegIdentity): boolean {
    const { identity } = this;
    if (identity === undefined || identity.key === null || identity.key !== now.key) return false;
    return !this.wasAway || identity.changedNs === now.changedNs;
  }
}

function refuseKnown(name: string, path: string, legs: readonly LegStatus[]): void {
  const known = legs.find(({ leg }) => leg === path);
  if (known === undefined) return;
  const isIn = known.state === 'in-sync' || known.state === 'resyncing';
  const remedy = isIn ? '' : `; dmio leg re-add ${name} ${path} takes it in again`;
  throw new ControlError('exists', `leg ${path} is in ${name} already: ${known.state}${remedy}`);
}

/** The record could not be written: the set has the device, and gives it back when it may be closed. */
function isTheSets(error: unknown): boolean {
  return error instanceof ControlError && error.code === 'io';
}
