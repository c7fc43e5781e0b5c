import { assert } from '../base/assert.ts';
import { Ring } from '../base/ring.ts';
import type { Clock, Timer } from '../base/ports.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { stackLimits } from '../block/limits.ts';
import type { QueueLimits } from '../block/limits.ts';
import { REQ_OP } from '../block/op.ts';
import type { DmIoRequest } from '../dm-io/request.ts';
import { escapeWord, parseCount, parseSectors } from './args.ts';
import { LinearRoute, Remapper, type Route } from './remap.ts';
import { TableError } from './target.ts';
import type { DeviceReference, Target, TargetEnvironment, TargetType } from './target.ts';

const USAGE = 'DEV OFFSET MS [WDEV WOFFSET WMS [FDEV FOFFSET FMS]]';

interface DelayArgs {
  readonly reference: DeviceReference;
  readonly delayMs: number;
}

/** `delay`: reads, writes and flushes are held back, each kind for a time and a device of its own. */
export const delayTargetType: TargetType = {
  name: 'delay',
  version: [1, 4, 0],
  parse(startSector, sectors, words) {
    const classes = parseDelay(sectors, words);
    return {
      type: delayTargetType,
      devices: classes.map(({ reference }) => reference),
      build: (devices, environment) => new DelayTarget(startSector, classes, devices, environment),
    };
  },
};

/** @throws TableError */
function parseDelay(sectors: number, words: readonly string[]): readonly DelayArgs[] {
  if (![3, 6, 9].includes(words.length)) {
    throw new TableError(`delay takes 3, 6 or 9 arguments, ${USAGE}, there are ${words.length}`);
  }
  const classes: DelayArgs[] = [];
  for (let i = 0; i < words.length; i += 3) {
    const [path = '', offset = '', delay = ''] = words.slice(i, i + 3);
    const startSector = parseSectors(offset, `the offset on ${path}`);
    // Devices for reads only need not take writes.
    const writable = words.length === 3 || i > 0;
    classes.push({
      reference: { path, startSector, sectors, writable },
      delayMs: parseCount(delay, 'the delay in milliseconds'),
    });
  }
  return classes;
}

class DelayTarget implements Target {
  readonly type = delayTargetType;
  readonly limits: QueueLimits;
  private readonly args: readonly DelayArgs[];
  private readonly read: DelayClass;
  private readonly write: DelayClass;
  private readonly flush: DelayClass;

  constructor(
    startSector: number,
    args: readonly DelayArgs[],
    devices: readonly BlockDevice[],
    environment: TargetEnvironment,
  ) {
    this.args = args;
    const [forReads, ...forWrites] = devices;
    assert(forReads !== undefined, 'delay without a device');
    const all = stackLimits(devices.map((device) => device.limits));
    // What writes may be is said by the devices they go to.
    const readOnly = (forWrites[0] ?? forReads).limits.readOnly;
    this.limits = { ...all, readOnly };
    // A class that the line leaves out goes the way of the one before it.
    const classAt = (wanted: number, route?: Route): DelayClass => {
      const i = Math.min(wanted, args.length - 1);
      const arg = args[i];
      const device = devices[i];
      assert(arg !== undefined && device !== undefined, 'delay without a device');
      const way = route ?? new LinearRoute(device, arg.reference.startSector - startSector);
      return new DelayClass(arg.delayMs, way, environment);
    };
    this.read = classAt(0);
    this.write = classAt(1);
    // What was written is to be durable where it was written, whatever device flushes are sent to.
    const written = [...new Set(devices.slice(Math.min(1, devices.length - 1)))];
    this.flush = classAt(2, new FlushRoute(written));
  }

  map(bio: Bio): void {
    if (bio.op === REQ_OP.READ) this.read.add(bio);
    else if (bio.op === REQ_OP.FLUSH) this.flush.add(bio);
    else this.write.add(bio);
  }

  presuspend(): void {
    for (const one of [this.read, this.write, this.flush]) one.setDelays(false);
  }

  resume(): void {
    for (const one of [this.read, this.write, this.flush]) one.setDelays(true);
  }

  table(): string {
    return this.args
      .map(({ reference, delayMs }) => {
        return `${escapeWord(reference.path)} ${reference.startSector} ${delayMs}`;
      })
      .join(' ');
  }

  status(): string {
    return `${this.read.waiting} ${this.write.waiting} ${this.flush.waiting}`;
  }
}

class FlushRoute implements Route {
  private readonly devices: readonly BlockDevice[];

  constructor(devices: readonly BlockDevice[]) {
    this.devices = devices;
  }

  addRegions(_bio: Bio, request: DmIoRequest): void {
    for (const device of this.devices) request.addRegion(device, 0, 0);
  }

  ended(): void {
    // What it became is what it is.
  }
}

/** Bios of one kind: all wait equally long, so the first to come is the first to go. */
class DelayClass {
  private readonly delayMs: number;
  private readonly clock: Clock;
  private readonly remapper: Remapper;
  private readonly bios = new Ring<Bio>(16);
  private readonly dueMs = new Ring<number>(16);
  private timer: Timer | null = null;
  private delays = true;

  constructor(delayMs: number, route: Route, { loop, clock }: TargetEnvironment) {
    this.delayMs = delayMs;
    this.clock = clock;
    this.remapper = new Remapper(loop, route);
  }

  get waiting(): number {
    return this.bios.length;
  }

  add(bio: Bio): void {
    if (this.delayMs === 0 || !this.delays) {
      this.remapper.map(bio);
      return;
    }
    this.bios.push(bio);
    this.dueMs.push(this.clock.nowMs() + this.delayMs);
    if (this.timer === null) this.arm(this.delayMs);
  }

  /** False: what waits goes on its way now, and what comes does not wait. */
  setDelays(delays: boolean): void {
    this.delays = delays;
    if (!delays) this.release(Infinity);
  }

  private arm(delayMs: number): void {
    this.timer = this.clock.after(delayMs, () => {
      this.timer = null;
      this.release(this.clock.nowMs());
    });
  }

  private release(nowMs: number): void {
    let dueMs = this.dueMs.peek();
    while (dueMs !== undefined && dueMs <= nowMs) {
      this.dueMs.shift();
      const bio = this.bios.shift();
      assert(bio !== undefined, 'a delay of no bio');
      this.remapper.map(bio);
      dueMs = this.dueMs.peek();
    }
    if (dueMs === undefined) {
      this.timer?.cancel();
      this.timer = null;
    } else if (this.timer === null) {
      this.arm(Math.max(0, dueMs - nowMs));
    }
  }
}
