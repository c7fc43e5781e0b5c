/** Legs of a running mirror come and go: opened, checked and closed here, changed where the set lives. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ControlError } from '../../core/control/error.ts';
import type { TargetEnvironment } from '../../core/dm/target.ts';
import type { LegStatus } from '../../core/control/status.ts';
import { bytesOfSectors, sectorsFloor } from '../../core/base/units.ts';
import { nativeLegSectors } from '../../core/mirror/native-layout.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import { refuseTwins } from './assemble.ts';
import { externalOfTable } from './external-metadata.ts';
import type { LegFacts } from './leg-calls.ts';
import { identityOf } from './leg-identity.ts';
import { attached, DRAIN_MS, isTheSets, LegReadds, mirrorOf } from './leg-readd.ts';
import { refuseForeignContent } from './leg-content.ts';
import type { OpenLegs } from './legs.ts';
import { markedOf, refuseMarked, refuseShort } from './native-build.ts';
import { eraseLegs } from './native-metadata.ts';
import type { Runner } from './runner.ts';

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
  private readonly returns: LegReadds;
  private last: Promise<unknown> = Promise.resolve();
  private stopped = false;
  private readonly releases = new Map<string, () => void>();
  private readonly closing = new Set<Promise<void>>();

  constructor(name: string, runner: Runner, legs: OpenLegs, environment: TargetEnvironment) {
    this.name = name;
    this.runner = runner;
    this.legs = legs;
    this.environment = environment;
    this.returns = new LegReadds(name, runner, legs, environment);
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
    return this.alone(() => this.returns.readd(leg, force));
  }

  /** From the set: a leg has gone, durably, and nothing is under way there. */
  heard({ kind, leg }: MirrorEvent): void {
    if (kind !== 'leg-removed' || leg === null) return;
    this.returns.known.delete(leg);
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
    const { sizeBytes, legs, tableLines } = await mirrorOf(this.name, this.runner);
    const external = externalOfTable(tableLines.join('\n'));
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
      createBytes: create ? await this.createdBytes(sizeBytes, external !== null) : null,
      createHint: '--create makes it',
      mayBeMissing: false,
    });
    const isCreated = this.legs.created.includes(path);
    try {
      const { loop } = this.environment;
      if (external !== null) {
        refuseShort(path, this.legs, sectorsFloor(sizeBytes));
        await this.legs.openMetadata([path], {
          folder: external.folder,
          makeBytes: external.bytes,
          makesFolder: false,
          force,
          moved: false,
        });
      }
      const marked = await markedOf(this.legs, [path], loop);
      if (!force) {
        refuseMarked(marked, [], OVERWRITTEN);
        await refuseForeignContent(this.legs, [path], OVERWRITTEN);
      }
      // It is no leg of another set from now on.
      await eraseLegs(
        marked.map((leg) => leg.device),
        loop,
      );
      this.returns.known.set(path, await identityOf(device));
      const replaces = old?.leg ?? null;
      const leg = { device: this.legs.openLegOf(path), writeMostly, replaces, uuid: randomUUID() };
      const facts = await attached(this.legs, device, this.runner.call('add-leg', leg));
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

  /** A new leg file holds the data and, where legs carry metadata, that too. */
  private async createdBytes(sizeBytes: number, isExternal: boolean): Promise<number> {
    if (isExternal) return sizeBytes;
    const { regions, statusLines } = await mirrorOf(this.name, this.runner);
    const isNative = statusLines.some((line) => line.endsWith(' native'));
    if (regions === null || !isNative) return sizeBytes;
    const region = sectorsFloor(regions.sizeBytes);
    return bytesOfSectors(nativeLegSectors(sectorsFloor(sizeBytes), region));
  }
}

const OVERWRITTEN = 'it would be overwritten; --force does it';

function refuseKnown(name: string, path: string, legs: readonly LegStatus[]): void {
  const known = legs.find(({ leg }) => leg === path);
  if (known === undefined) return;
  const isIn = known.state === 'in-sync' || known.state === 'resyncing';
  const remedy = isIn ? '' : `; dmio leg re-add ${name} ${path} takes it in again`;
  throw new ControlError('exists', `leg ${path} is in ${name} already: ${known.state}${remedy}`);
}
