/**
 * Devices of this daemon as legs of others: `dm:NAME`. The upper device has the lower one to itself as
 * a writer: nobody else stacks on it, it cannot be removed, and NBD clients may only read it, for what
 * they wrote would make the legs of a mirror above differ.
 *
 * A bio goes from one device to the next inside one thread. With the uring engine a stack therefore
 * lives in one thread: an upper device starts where its lower ones are, and lower ones that are in
 * different threads are stopped and started again in one (nobody uses them, so nobody sees it).
 */
import type { BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import { ControlError } from '../../core/control/error.ts';
import type { PlaneThread } from '../worker/threads.ts';
import type { Device } from './device.ts';

const PREFIX = 'dm:';

/** Undefined: the leg is no device of a daemon. */
export function lowerNameOf(leg: string): string | undefined {
  return leg.startsWith(PREFIX) ? leg.slice(PREFIX.length) : undefined;
}

/** A device as whatever stands on it sees it. */
export interface Below {
  readonly sectors: number;
  readonly limits: QueueLimits;
  /** Where its bios go; null: it lives in another thread. */
  readonly device: BlockDevice | null;
  /** Its thread, and its number there; null: this one. */
  readonly place: { readonly thread: PlaneThread; readonly number: number } | null;
}

/** The other devices, for one that is being put together. */
export interface Stack {
  /** @throws ControlError no-leg: there is none, or it is failed; busy */
  find(name: string): Device;
  /** Brings the devices among these legs into one thread, that of the first or a given one. */
  gather(legs: readonly string[], into: PlaneThread | null): Promise<void>;
}

/** A lower device, held for an upper one. */
export class StackedLeg {
  readonly name: string;
  readonly lower: Device;

  private constructor(name: string, lower: Device) {
    this.name = name;
    this.lower = lower;
  }

  /** @throws ControlError no-leg, bad-leg, busy */
  static async borrow(leg: string, upper: string, stack: Stack): Promise<StackedLeg> {
    const name = lowerNameOf(leg) ?? '';
    if (name === upper) {
      throw new ControlError('bad-leg', `leg ${leg}: a device cannot stand on itself`);
    }
    const lower = stack.find(name);
    if (standsOn(lower, upper)) {
      throw new ControlError(
        'bad-leg',
        `leg ${leg}: ${name} stands on ${upper}, this would be a loop`,
      );
    }
    if (lower.holder !== null) {
      throw new ControlError('busy', `leg ${leg}: device ${lower.holder} uses it`);
    }
    if (lower.connections > 0) {
      throw new ControlError('busy', `leg ${leg}: clients are connected to it`);
    }
    lower.holder = upper;
    try {
      await lower.runner.lend(true);
    } catch (error) {
      lower.holder = null;
      throw error;
    }
    return new StackedLeg(leg, lower);
  }

  get below(): Below {
    return this.lower.runner.below();
  }

  async release(): Promise<void> {
    this.lower.holder = null;
    // A device that has died has nothing to give back.
    await this.lower.runner.lend(false).catch(() => undefined);
  }
}

function standsOn(device: Device, name: string): boolean {
  return [...device.legs.stacked.values()].some(({ lower }) => {
    return lower.name === name || standsOn(lower, name);
  });
}

/** Lower devices first; otherwise the order stays. A loop, which only a damaged record has, is cut. */
export function inStackOrder<T>(
  items: readonly T[],
  nameOf: (item: T) => string,
  legsOf: (item: T) => readonly string[],
): readonly T[] {
  const byName = new Map(items.map((item) => [nameOf(item), item]));
  const placed = new Set<T>();
  const place = (item: T, path: ReadonlySet<T>): void => {
    if (placed.has(item) || path.has(item)) return;
    for (const leg of legsOf(item)) {
      const lower = byName.get(lowerNameOf(leg) ?? '');
      if (lower !== undefined) place(lower, new Set([...path, item]));
    }
    placed.add(item);
  };
  for (const item of items) place(item, new Set());
  return [...placed];
}
