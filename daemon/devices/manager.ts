/** All devices of a daemon, by name: those that serve and those that could not be assembled. */
import { ControlError } from '../../core/control/error.ts';
import { nameError } from '../../core/control/name.ts';
import type {
  DeviceInfo,
  DeviceSource,
  DeviceStatus,
  EventStatus,
  EventsReport,
  LinesReport,
  ResyncReport,
  ScrubReport,
  StatsReport,
  WaitReport,
} from '../../core/control/status.ts';
import type { Log } from '../../core/base/ports.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import type { DeviceRecord } from '../device-record.ts';
import type { EventKind } from '../event.ts';
import type { NbdServer } from '../net/server.ts';
import { EventLog } from '../events.ts';
import { reasonOf } from '../system-error.ts';
import { buildFound, buildNew, buildRecorded, findSet } from './build.ts';
import type { Assembly, BuildContext, Built, FindOptions } from './build.ts';
import type { CallArgs, CallName, CallValue } from './calls.ts';
import { Changes } from './changes.ts';
import { Device } from './device.ts';
import { FailedDevice } from './failed-device.ts';
import { clear, resume } from './live-table.ts';
import type { LegChanges } from './leg-changes.ts';
import { excludedOf } from './native-start.ts';
import type { DeviceRequest } from './request.ts';
import type { PlaneThread } from '../worker/threads.ts';
import { lowerNameOf } from './stack.ts';

/** Clients of a removed device get this long for what they have under way. */
const REMOVE_DRAIN_MS = 5000;

type Entry = Device | FailedDevice;

export interface ManagerOptions extends Omit<BuildContext, 'onEvent' | 'onDeath' | 'stack'> {
  readonly server: NbdServer;
  /** Something that an operator wants to know has happened. */
  announce(event: EventStatus): void;
  readonly log: Log;
  /** Where clients find an export; null: nowhere that can be named. */
  uriOf(name: string): string | null;
}

export class DeviceManager {
  private readonly options: ManagerOptions;
  private readonly context: BuildContext;
  private readonly devices = new Map<string, Entry>();
  /** Names that a create or a remove is at work on. */
  private readonly reserved = new Set<string>();
  private readonly changes = new Changes();
  private readonly events: EventLog;

  constructor(options: ManagerOptions) {
    this.options = options;
    this.events = new EventLog((event) => options.announce(event));
    this.context = {
      ...options,
      stack: {
        find: (name) => this.findLower(name),
        gather: (legs, into) => this.gather(legs, into),
      },
      onEvent: (name, event) => this.heard(name, event),
      onDeath: (name, why) => this.deviceDied(name, why),
    };
  }

  /** @throws ControlError exists, and all that `buildNew` throws; nothing has changed then */
  async create(request: DeviceRequest): Promise<Built> {
    const { name } = request;
    if (this.devices.has(name)) {
      throw new ControlError('exists', `device ${name} exists already`);
    }
    return this.reserving(name, async () => {
      const built = await buildNew(request, this.context);
      this.devices.set(name, built.device);
      this.options.log.info(
        { device: name, event: 'device-created', source: request.source },
        'device created',
      );
      this.note(name, 'device-created', `device ${name} was created`);
      return built;
    });
  }

  /**
   * Starts a set that its legs know and this daemon does not; `name` null: as the set is called.
   * @throws ControlError exists; bad-leg; would-lose-data; nothing has changed then
   */
  async assemble(
    paths: readonly string[],
    asked: string | null,
    options: FindOptions,
  ): Promise<Assembly> {
    const found = await findSet(paths, options, this.context);
    const { setName, setUuid } = found.plan.assembly.ruler;
    const name = asked ?? setName;
    const problem = nameError(name);
    const exists = this.devices.has(name) ? `device ${name} exists already` : undefined;
    const refusal = problem ?? exists;
    if (refusal !== undefined) {
      await found.legs.close();
      const way = asked === null ? '; --name N gives it another name' : '';
      throw new ControlError(exists === undefined ? 'bad-argument' : 'exists', `${refusal}${way}`);
    }
    const leftOut = excludedOf(found.plan).map(({ path }) => path);
    const begin = async (): Promise<Assembly> => {
      const device = await buildFound(name, found, this.context);
      this.devices.set(name, device);
      this.options.log.info({ device: name, setUuid, legs: paths.join(' ') }, 'device assembled');
      this.note(name, 'device-created', `device ${name} was assembled from its legs`);
      return { device, leftOut };
    };
    return this.reserving(name, begin).catch(async (error: unknown) => {
      await found.legs.close();
      throw error;
    });
  }

  /** Takes back a creation of which nobody has heard yet: also the leg files it made. */
  async undoCreate(name: string): Promise<void> {
    const device = this.devices.get(name);
    if (device === undefined || device instanceof FailedDevice) return;
    await this.options.server.removeExport(name, 0);
    this.devices.delete(name);
    await device.abandon();
  }

  /** Brings a device of the state directory back; one that cannot be is listed as failed. */
  async restore(record: DeviceRecord): Promise<void> {
    try {
      this.devices.set(record.name, await buildRecorded(record, this.context));
      this.options.log.info({ device: record.name }, 'device started');
    } catch (error) {
      this.addFailed(record.name, record.source, reasonOf(error), record, true);
    }
  }

  addFailed(
    name: string,
    source: DeviceSource,
    reason: string,
    record: DeviceRecord | null,
    isOnRecord: boolean,
  ): void {
    this.devices.set(name, new FailedDevice(name, source, reason, record, isOnRecord));
    this.options.log.error(
      { device: name, event: 'device-failed', reason },
      'device failed to start',
    );
    this.note(name, 'device-failed', `device ${name} failed to start: ${reason}`);
  }

  /**
   * Takes a device away from its clients and forgets it. Its legs keep what is on them.
   * @throws ControlError no-device; busy: clients are connected and `force` is not given
   */
  async remove(name: string, force: boolean): Promise<void> {
    const entry = this.get(name);
    if (entry instanceof FailedDevice) {
      if (entry.isOnRecord) this.options.store?.forget(name);
      this.devices.delete(name);
      this.changes.happened();
      return;
    }
    if (entry.holder !== null) {
      throw new ControlError('busy', `device ${name} is a leg of ${entry.holder}`);
    }
    if (entry.connections > 0 && !force) {
      const clients = `${entry.connections} client connection${entry.connections === 1 ? '' : 's'}`;
      throw new ControlError(
        'busy',
        `device ${name} has ${clients}; --force removes it all the same`,
      );
    }
    await this.reserving(name, async () => {
      await this.stop(entry, REMOVE_DRAIN_MS);
      await entry.recorder?.remove();
      this.options.log.info({ device: name, event: 'device-removed' }, 'device removed');
      this.note(name, 'device-removed', `device ${name} was removed`);
    });
  }

  /**
   * Takes a device away, but keeps its record: the config file no longer names it, and may again.
   * False: clients are connected, it stays.
   */
  async retire(name: string): Promise<boolean> {
    const entry = this.get(name);
    if (entry instanceof FailedDevice) {
      this.devices.delete(name);
      return true;
    }
    if (entry.connections > 0 || entry.holder !== null) return false;
    await this.reserving(name, () => this.stop(entry, REMOVE_DRAIN_MS));
    return true;
  }

  /** Stops every device; what is on record stays. Clients are gone or are sent away. */
  async stopAll(drainMs: number): Promise<void> {
    for (;;) {
      const running = this.running();
      if (running.length === 0) return;
      // Those on top first. One that could not let go of what it stands on does not keep that up.
      const tops = running.filter(({ holder }) => holder === null);
      const next = tops.length > 0 ? tops : running;
      await Promise.all(next.map((entry) => this.stop(entry, drainMs)));
    }
  }

  /** @throws ControlError no-leg, busy */
  private findLower(name: string): Device {
    const entry = this.devices.get(name);
    if (entry === undefined) throw new ControlError('no-leg', `leg dm:${name}: no device ${name}`);
    if (entry instanceof FailedDevice) {
      throw new ControlError('no-leg', `leg dm:${name}: device ${name} is failed: ${entry.reason}`);
    }
    if (this.reserved.has(name)) {
      throw new ControlError('busy', `leg dm:${name}: device ${name} is being changed`);
    }
    return entry;
  }

  /** Only the uring engine has threads to choose from. */
  private async gather(legs: readonly string[], into: PlaneThread | null): Promise<void> {
    let thread = into;
    for (const leg of legs) {
      const entry = this.devices.get(lowerNameOf(leg) ?? '');
      if (!(entry instanceof Device)) continue;
      const { place } = entry.runner.below();
      thread ??= place?.thread ?? null;
      if (place === null || thread === null || place.thread === thread) continue;
      await this.move(entry, thread);
    }
  }

  /** Stops a device that nobody uses, and starts it again in another thread, with all below it. */
  private async move(device: Device, thread: PlaneThread): Promise<void> {
    const { name, recorder } = device;
    // Whoever uses it is told so when it is borrowed.
    if (device.holder !== null || device.connections > 0 || recorder === null) return;
    if (device.isSuspended) {
      throw new ControlError('busy', `leg dm:${name}: device ${name} is suspended`);
    }
    await this.reserving(name, async () => {
      await this.stop(device, 0);
      const record = recorder.current;
      try {
        this.devices.set(name, await buildRecorded(record, this.context, thread));
      } catch (error) {
        this.addFailed(name, record.source, reasonOf(error), record, true);
      }
    });
  }

  /** A broken promise of ours in the device's own thread: it is down, the others serve. */
  private deviceDied(name: string, why: string): void {
    const entry = this.devices.get(name);
    this.options.log.error(
      { device: name, event: 'device-failed', why },
      'the device has died; a restart brings it back',
    );
    if (!(entry instanceof Device)) return;
    this.options.exports.remove(name);
    const reason = 'its data plane has died; the log says why';
    const isOnRecord = entry.recorder !== null;
    this.devices.set(name, new FailedDevice(name, entry.source, reason, null, isOnRecord));
    this.note(name, 'device-failed', `device ${name} has died: ${why}`);
  }

  has(name: string): boolean {
    return this.devices.has(name);
  }

  sourceOf(name: string): DeviceSource {
    return this.get(name).source;
  }

  /** `cells`: width of the region map; 0: none is wanted. */
  status(name?: string, cells = 0): Promise<readonly DeviceStatus[]> {
    return this.ask(name, (entry) => entry.status(this.options.uriOf(entry.name), cells));
  }

  info(name?: string): Promise<readonly DeviceInfo[]> {
    return this.ask(name, (entry) => entry.info(this.options.uriOf(entry.name)));
  }

  tables(name?: string): Promise<LinesReport['devices']> {
    return this.ask(name, async (entry) => ({ name: entry.name, lines: await entry.tableLines() }));
  }

  statusLines(name?: string): Promise<LinesReport['devices']> {
    return this.ask(name, async (entry) => ({
      name: entry.name,
      lines: await entry.statusLines(),
    }));
  }

  async deps(name: string): Promise<readonly string[]> {
    return this.get(name).deps();
  }

  /**
   * Changes the tables of a device, or the flow of its bios.
   * @throws ControlError no-device, no-leg: it is failed; busy; what the change refuses
   */
  async change(
    name: string,
    work: (device: Device, context: BuildContext) => Promise<void>,
  ): Promise<Device> {
    const device = this.serving(name);
    await this.reserving(name, () => device.changes.alone(() => work(device, this.context)));
    this.changes.happened();
    return device;
  }

  async message(name: string, sector: number, words: readonly string[]): Promise<string> {
    return this.serving(name).runner.call('message', { sector, words });
  }

  /** Suspended devices go on, for they are about to be stopped: clients get their answers. */
  async wakeAll(): Promise<void> {
    await Promise.all(this.running().map((device) => this.wake(device)));
  }

  /**
   * What changes the legs of a device that serves.
   * @throws ControlError no-device; no-leg: it is failed
   */
  legsOf(name: string): LegChanges {
    return this.serving(name).changes;
  }

  /** @throws ControlError no-device, no-leg, busy, would-lose-data */
  async scrub(name: string, order: CallArgs<'scrub'>): Promise<ScrubReport> {
    const { scrub } = await this.call(name, 'scrub', order);
    return { name, scrub };
  }

  /** @throws ControlError no-device, no-leg, bad-argument */
  async resync(name: string, order: CallArgs<'resync'>): Promise<ResyncReport> {
    const { scrub: _, ...answer } = await this.call(name, 'resync', order);
    return { name, ...answer };
  }

  /** A device that could not be assembled has counted nothing. */
  async stats(name?: string): Promise<StatsReport> {
    const found = await this.ask(name, async (entry) => {
      if (entry instanceof FailedDevice && name === undefined) return [];
      return [{ name: entry.name, ...(await this.call(entry.name, 'stats', null)) }];
    });
    return { timeMs: Date.now(), devices: found.flat() };
  }

  /** Events behind number `after`; waits for one, if there is none and it may. */
  async eventsSince(
    after: number,
    name: string | undefined,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<EventsReport> {
    if (name !== undefined) this.get(name);
    const look = (): EventsReport | null => {
      const report = this.events.since(after, name);
      return report.events.length > 0 ? report : null;
    };
    return (await this.changes.until(look, waitMs, signal)) ?? this.events.since(after, name);
  }

  /**
   * Fulfilled when `eventNr` has been passed, or without it when the device is in sync.
   * @throws ControlError no-device (also when it is removed meanwhile), timeout
   */
  async wait(
    name: string,
    eventNr: number | undefined,
    timeoutMs: number | undefined,
    signal: AbortSignal,
  ): Promise<WaitReport> {
    let inVain = '';
    const look = async (): Promise<WaitReport | null> => {
      const entry = this.get(name);
      const { state, eventNr: now } = await entry.status(null, 0);
      const isThere = eventNr === undefined ? state === 'in-sync' : now > eventNr;
      if (isThere) return { name, state, eventNr: now };
      if (entry instanceof FailedDevice) {
        throw new ControlError('io', `device ${name} is failed: ${entry.reason}`);
      }
      inVain = `device ${name} is ${state}, event ${now}: timed out`;
      return null;
    };
    const found = await this.changes.until(look, timeoutMs ?? Infinity, signal);
    if (found === null) throw new ControlError('timeout', inVain);
    return found;
  }

  private call<C extends CallName>(
    name: string,
    call: C,
    args: CallArgs<C>,
  ): Promise<CallValue<C>> {
    return this.serving(name).runner.call(call, args);
  }

  private serving(name: string): Device {
    const entry = this.get(name);
    if (entry instanceof FailedDevice) {
      throw new ControlError('no-leg', `device ${name} is failed: ${entry.reason}`);
    }
    return entry;
  }

  /** The loaded table is forgotten: a stop is not the resume that was asked for. */
  private async wake(device: Device): Promise<void> {
    try {
      await clear(device);
      await resume(device);
    } catch (error) {
      this.options.log.error({ device: device.name, why: reasonOf(error) }, 'cannot be resumed');
    }
  }

  private heard(name: string, event: MirrorEvent): void {
    const entry = this.devices.get(name);
    if (entry instanceof Device) entry.heard(event);
    this.events.add({ device: name, ...event });
    this.changes.happened();
  }

  private get(name: string): Entry {
    const entry = this.devices.get(name);
    if (entry === undefined) throw new ControlError('no-device', `no device ${name}`);
    return entry;
  }

  private running(): readonly Device[] {
    return [...this.devices.values()].filter((entry) => entry instanceof Device);
  }

  private select(name: string | undefined): readonly Entry[] {
    if (name !== undefined) return [this.get(name)];
    return [...this.devices.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** A device that goes away while it is asked is left out, unless it was asked for by name. */
  private async ask<T>(
    name: string | undefined,
    question: (entry: Entry) => T | Promise<T>,
  ): Promise<readonly T[]> {
    const answers = this.select(name).map(async (entry) => {
      try {
        return [await question(entry)];
      } catch (error) {
        if (name === undefined && this.devices.get(entry.name) !== entry) return [];
        throw error;
      }
    });
    return (await Promise.all(answers)).flat();
  }

  private async reserving<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.reserved.has(name)) throw new ControlError('busy', `device ${name} is being changed`);
    this.reserved.add(name);
    try {
      return await work();
    } finally {
      this.reserved.delete(name);
    }
  }

  private async stop(device: Device, drainMs: number): Promise<void> {
    const { name } = device;
    await this.wake(device);
    await this.options.server.removeExport(name, drainMs);
    this.devices.delete(name);
    this.changes.happened();
    if (device.exported.requestsInFlight > 0) {
      // Its legs do not answer. What was acknowledged is safe; the record says "not clean".
      this.options.log.warn({ device: name }, 'device stopped with requests under way');
      return;
    }
    const problem = await device.stop();
    if (problem !== undefined) this.options.log.error({ device: name }, problem);
  }

  /** An event of the daemon's own. */
  private note(device: string, kind: EventKind, message: string): void {
    this.events.add({ device, eventNr: 0, kind, leg: null, message });
    this.changes.happened();
  }
}
