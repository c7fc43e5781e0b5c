/**
 * Legs that are out come back: opened again, looked at, and taken by the set with what they lack.
 *
 *   a file or disk without metadata   the same inode or disk as before? then what it missed, else all
 *   one that carries metadata         says itself who it is and what it has lived through, also under
 *                                     another name (native-return.ts)
 *   `dm:NAME`                         was held all the time; what it carries counts
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ControlError } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import type { LegStatus } from '../../core/control/status.ts';
import { sectorsFloor } from '../../core/base/units.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { TargetEnvironment } from '../../core/dm/target.ts';
import type { LegMetadata } from '../../core/mirror/assemble-native.ts';
import type { LegHistory } from '../../core/mirror/native-recorder.ts';
import { RemoteLeg } from '../remote/leg.ts';
import { refuseTwins } from './assemble.ts';
import type { Detached, LegFacts } from './leg-calls.ts';
import { identityAt, identityOf, type LegIdentity } from './leg-identity.ts';
import { externalOfTable, type ExternalRule } from './external-metadata.ts';
import { refuseStranger } from './leg-content.ts';
import type { OpenLegs } from './legs.ts';
import { metadataAt } from './native-metadata.ts';
import { refuseShort } from './native-build.ts';
import { refuseApart } from './native-return.ts';
import type { LegDevice } from './open-leg.ts';
import { lowerNameOf } from './stack.ts';
import type { DeviceSnapshot, Runner } from './runner.ts';
import { isWiped } from './wiped.ts';

/** Requests of a leg's earlier life get this long to end; an answer does not wait longer for them. */
export const DRAIN_MS = 5000;
const DRAIN_PAUSE_MS = 50;

/** One at a time: `LegChanges` sees to that. */
export class LegReadds {
  /** What was at a path when it was opened or, if it is closed now, when it was closed. */
  readonly known = new Map<string, LegIdentity>();
  /** What was known of a leg when the set last let go of its device. */
  private readonly detached = new Map<string, Detached>();
  private readonly name: string;
  private readonly runner: Runner;
  private readonly legs: OpenLegs;
  private readonly environment: TargetEnvironment;

  constructor(name: string, runner: Runner, legs: OpenLegs, environment: TargetEnvironment) {
    this.name = name;
    this.runner = runner;
    this.legs = legs;
    this.environment = environment;
  }

  async readd(wanted: string, force: boolean): Promise<LegFacts> {
    const facts = await this.runner.call('leg-facts', { leg: wanted }).catch((error: unknown) => {
      if (isNoLeg(error)) return null;
      throw error;
    });
    if (facts === null) return this.readdMoved(wanted, force);
    if (facts.state === 'in-sync' || facts.state === 'resyncing') return facts;
    const path = facts.leg;
    const history = await this.runner.call('leg-history', { leg: path });
    if (lowerNameOf(path) !== undefined) return this.readdStacked(path, history, force);
    if (history !== null) return this.readdMarked(path, history, force);
    const detached = await this.detach(path);
    const before = await this.close(path);
    const found = await identityAt(path);
    const device = await this.reopen(path, force, detached);
    try {
      const now = await identityOf(device);
      // A file might have been exchanged between the two looks; an export is only looked at open.
      const looked = isLegUri(path) ? now : found;
      const isSame =
        looked !== null &&
        looked.key === now.key &&
        before.isSameAs(looked) &&
        isAsItWas(device) &&
        hasProof(device, detached) &&
        !(await this.isWiped(device));
      if (!isSame && !force) await this.refuseStranger(path);
      this.known.set(path, now);
      return await attached(
        this.legs,
        device,
        this.runner.call('re-add-leg', {
          leg: path,
          device: this.legs.openLegOf(path),
          isSame,
          found: null,
        }),
      );
    } catch (error) {
      if (!isTheSets(error)) await this.legs.closeOne(path);
      throw error;
    }
  }

  /** A leg that carries metadata says itself who it is, and what it has lived through. */
  private async readdMarked(path: string, history: LegHistory, force: boolean): Promise<LegFacts> {
    const detached = await this.detach(path);
    await this.legs.closeOne(path);
    const device = await this.reopen(path, force, detached);
    try {
      // Metadata beside the leg tells nothing of what has become of the leg.
      const found = isAsItWas(device) ? await this.metadataOf(path) : NO_METADATA;
      if (!force) {
        if (found.kind === 'superblock') refuseApart(path, found.superblock, history);
        else await this.refuseStranger(path);
      }
      return await this.readdAs(path, device, found);
    } catch (error) {
      if (!isTheSets(error)) await this.legs.closeOne(path);
      throw error;
    }
  }

  /** A device of this daemon was not let go: it is taken as it is. */
  private async readdStacked(
    path: string,
    history: LegHistory | null,
    force: boolean,
  ): Promise<LegFacts> {
    const device = this.legs.blocksAt([path], this.environment.loop).get(path);
    if (device === undefined) {
      throw new ControlError('no-leg', `leg ${path} was not there when ${this.name} was started`);
    }
    const found = history === null ? null : await metadataOf(device, this.environment.loop);
    if (history !== null && !force) {
      if (found?.kind === 'superblock') refuseApart(path, found.superblock, history);
      else await this.refuseStranger(path);
    }
    const call = { leg: path, device: null, isSame: false, found };
    return this.runner.call('re-add-leg', call);
  }

  /**
   * No leg is called so; but what is there may be one that is out and has another name now. Its
   * metadata says which.
   */
  private async readdMoved(path: string, force: boolean): Promise<LegFacts> {
    const stranger = new ControlError('no-leg', `device ${this.name} has no leg ${path}`);
    const { legs } = await mirrorOf(this.name, this.runner);
    if (!isPath(path)) throw stranger;
    await refuseTwins([...openOf(legs), path]);
    const device = await this.reopen(path, null).catch((error: unknown) => {
      throw isNoLeg(error) ? stranger : error;
    });
    try {
      const found = await this.metadataOf(path);
      const { setUuid, legUuid } = found.kind === 'superblock' ? found.superblock : NOBODY;
      const leg = await this.runner.call('leg-of-uuid', { setUuid, legUuid });
      if (leg === null || found.kind !== 'superblock') throw stranger;
      const { facts, history } = leg;
      if (facts.state === 'in-sync' || facts.state === 'resyncing') {
        throw new ControlError(
          'would-lose-data',
          `leg ${path} is a copy of leg ${facts.leg}, which is ${facts.state} in ${this.name}; leg add --force overwrites it`,
        );
      }
      if (!force) refuseApart(path, found.superblock, history);
      await this.detach(facts.leg);
      await this.legs.closeOne(facts.leg);
      return await this.readdAs(facts.leg, device, found, path);
    } catch (error) {
      if (!isTheSets(error)) await this.legs.closeOne(path);
      throw error;
    }
  }

  /** Of a leg that is open. */
  private async metadataOf(path: string): Promise<LegMetadata> {
    const { loop } = this.environment;
    const device = this.legs.blocksAt([path], loop).get(path);
    return device === undefined ? NO_METADATA : metadataOf(device, loop);
  }

  /** `leg`: as the set calls it; `path`: as it is to be called. */
  private readdAs(
    leg: string,
    device: LegDevice,
    found: LegMetadata,
    path = leg,
  ): Promise<LegFacts> {
    const call = { leg, device: this.legs.openLegOf(path), isSame: false, found };
    return attached(this.legs, device, this.runner.call('re-add-leg', call));
  }

  private async detach(leg: string): Promise<Detached> {
    const endMs = performance.now() + DRAIN_MS;
    for (;;) {
      try {
        const found = await this.runner.call('detach-leg', { leg });
        // A try that was refused has taken it from the set: the next one must know it too.
        const kept = this.detached.get(leg);
        const isNothing = found.remembered.length === 0 && !found.isOther;
        const detached = isNothing && kept !== undefined ? kept : found;
        this.detached.set(leg, detached);
        return detached;
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

  /** `force` null: external metadata must be there; else it is made, anew where it is not the leg's. */
  private async reopen(
    path: string,
    force: boolean | null,
    detached: Partial<Detached> = {},
  ): Promise<LegDevice> {
    const { tableLines, sizeBytes } = await this.runner.call('snapshot', null);
    const external = externalOfTable(tableLines.join('\n'));
    const device = await this.legs.openMore(path, {
      ...this.environment,
      upper: this.name,
      stack: null,
      readOnly: false,
      createBytes: null,
      createHint: '',
      mayBeMissing: false,
      ...detached,
      external: external === null ? null : ruleOf(external, force),
    });
    try {
      if (external !== null) refuseShort(path, this.legs, sectorsFloor(sizeBytes));
      return device;
    } catch (error) {
      await this.legs.closeOne(path);
      throw error;
    }
  }

  /** Names and sizes say little of an export: one that came back empty must be copied whole. */
  private async isWiped(device: LegDevice): Promise<boolean> {
    if (!(device instanceof RemoteLeg)) return false;
    const { legs } = await mirrorOf(this.name, this.runner);
    const member = legs.find(({ leg, state }) => state === 'in-sync' && !isLegUri(leg));
    return member === undefined || (await isWiped(device, member.leg));
  }

  private async refuseStranger(path: string): Promise<void> {
    const { legs } = await mirrorOf(this.name, this.runner);
    const member = legs.find(({ state }) => state === 'in-sync');
    if (member === undefined) throw new ControlError('busy', `${this.name} has no leg in sync now`);
    await refuseStranger(this.legs, path, member.leg, 'it would be overwritten; --force does it');
  }
}

const NO_METADATA: LegMetadata = { kind: 'none' };

async function metadataOf(device: BlockDevice, loop: Loop): Promise<LegMetadata> {
  const [found = NO_METADATA] = await metadataAt([device], loop);
  return found;
}

function ruleOf(
  { folder, bytes }: { readonly folder: string; readonly bytes: number },
  force: boolean | null,
): ExternalRule {
  const makeBytes = force === null ? null : bytes;
  return { folder, makeBytes, makesFolder: false, force: force === true, moved: false };
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

/** An export has shown something that it must hold. Nothing was known: address and size are no proof. */
function hasProof(device: LegDevice, { remembered }: Detached): boolean {
  return !(device instanceof RemoteLeg) || remembered.length > 0;
}

/** A server was asked for what it had when its leg was let go, as far as that is known, and has it still. */
function isAsItWas(device: LegDevice): boolean {
  return !(device instanceof RemoteLeg) || device.isAsItWas;
}

function isNoLeg(error: unknown): boolean {
  return error instanceof ControlError && error.code === 'no-leg';
}

/** Not the number of a leg: what the command line hands on is absolute, or an address. */
function isPath(wanted: string): boolean {
  return wanted.startsWith('/') || isLegUri(wanted);
}

function openOf(legs: readonly LegStatus[]): readonly string[] {
  return legs.flatMap(({ leg, state }) =>
    state === 'in-sync' || state === 'resyncing' ? [leg] : [],
  );
}

/** No leg has these. */
const NOBODY = { setUuid: '', legUuid: '' };

/** The call goes first: a thread must know a remote leg before its connections come. */
export function attached(
  legs: OpenLegs,
  device: LegDevice,
  call: Promise<LegFacts>,
): Promise<LegFacts> {
  if (device instanceof RemoteLeg) legs.handOver(device);
  return call;
}

/** @throws ControlError no-leg: it is no mirror */
export async function mirrorOf(name: string, runner: Runner): Promise<DeviceSnapshot> {
  const snapshot = await runner.call('snapshot', null);
  if (snapshot.regions !== null) return snapshot;
  throw new ControlError('no-leg', `device ${name} is no mirror, it has no legs`);
}

/** The record could not be written: the set has the device, and gives it back when it may be closed. */
export function isTheSets(error: unknown): boolean {
  return error instanceof ControlError && error.code === 'io';
}
