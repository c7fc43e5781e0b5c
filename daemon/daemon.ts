/** A running daemon: devices, NBD listeners, control socket; put together, reloaded, taken down. */
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createNodeLoop } from './node-loop.ts';
import { alignedMemory } from './sys/aligned-memory.ts';
import { ControlError } from '../core/control/error.ts';
import { ExportTable } from '../core/export/export-table.ts';
import { NODE_CLOCK } from './clock.ts';
import type { Config, Engine } from './config/schema.ts';
import { chooseEngine, type EngineName } from './engine.ts';
import {
  contradiction,
  legsOfConfig,
  legsOfRecord,
  requestOfConfig,
  withConfig,
} from './config/devices.ts';
import { makeHandler } from './control/commands.ts';
import { Attachments } from './attach/attachments.ts';
import { NbdBlocks } from './attach/nbd-block.ts';
import { clearStaleSocket, ControlServer } from './control/server.ts';
import { DeviceManager } from './devices/manager.ts';
import type { ReturnPolicy } from './devices/leg-return.ts';
import { Hooks } from './hooks.ts';
import type { DeviceRequest } from './devices/request.ts';
import { DEFAULT_NETWORK, isSecure, policyOf, refusePlainTcp } from './config/network.ts';
import { tlsFilesOf, tlsWordOf, type NetworkSettings } from './config/network.ts';
import { inStackOrder } from './devices/stack.ts';
import { clientUri } from './listen.ts';
import type { DaemonLog } from './log.ts';
import { MetricsServer, type MetricsAddress } from './metrics.ts';
import { ListenError } from './net/address.ts';
import type { ListenAddress } from './net/address.ts';
import { NbdServer } from './net/server.ts';
import { DEFAULT_LIMITS, type ServerLimits } from './net/limits.ts';
import { loadCredentials } from './tls/credentials.ts';
import { TlsTerminator } from './tls/terminator.ts';
import { setThreadLimits } from './worker/threads.ts';
import { StateStore } from './state-store.ts';
import type { FoundRecord } from './state-store.ts';
import { reasonOf } from './system-error.ts';

/** Requests under way get this long when the daemon ends. */
const DRAIN_MS = 5000;

export interface Settings {
  /** Null: nobody may command it. */
  readonly control: string | null;
  /** Null: nothing is remembered. */
  readonly stateDir: string | null;
  readonly listen: readonly ListenAddress[];
  /** Where the metrics page is; null: nowhere. */
  readonly metrics: MetricsAddress | null;
  readonly devices: Config['device'];
  readonly engine: Engine;
  readonly legReturn: ReturnPolicy;
  /** Absent: everybody on this machine, in the clear. */
  readonly network?: NetworkSettings;
  readonly hooks?: Config['hooks'];
  /** A device to make before anybody can connect, unless it is on record. Its failure is the start's. */
  readonly first: DeviceRequest | null;
}

export class Daemon {
  readonly manager: DeviceManager;
  readonly server: NbdServer;
  private readonly log: DaemonLog;
  private readonly attachments: Attachments;
  private readonly hooks: Hooks;
  private readonly engine: EngineName;
  private readonly store: StateStore | null;
  private readonly tls: TlsTerminator | undefined;
  private devices: Config['device'];
  private network: NetworkSettings;
  private addresses: ListenAddress[] = [];
  private control: ControlServer | null = null;
  private metrics: MetricsServer | null = null;
  private stopping: Promise<void> | undefined;

  private constructor(
    settings: Settings,
    store: StateStore | null,
    engine: EngineName,
    log: DaemonLog,
  ) {
    const exports = new ExportTable();
    this.log = log;
    this.engine = engine;
    this.store = store;
    this.devices = settings.devices;
    this.network = settings.network ?? DEFAULT_NETWORK;
    const { network } = this;
    this.tls =
      tlsWordOf(network) === 'off'
        ? undefined
        : new TlsTerminator(loadCredentials(tlsFilesOf(network)));
    const limits = limitsOf(network);
    setThreadLimits(limits);
    this.server = new NbdServer({
      exports,
      log,
      policy: policyOf(network),
      ...(this.tls !== undefined && { tls: this.tls }),
      limits,
    });
    this.hooks = new Hooks(settings.hooks, log);
    this.manager = new DeviceManager({
      environment: { loop: createNodeLoop(), clock: NODE_CLOCK, log, memory: alignedMemory },
      exports,
      store,
      engine,
      legReturn: settings.legReturn,
      server: this.server,
      log,
      uriOf: (name) => this.uriOf(name),
      announce: (event) => this.hooks.fire(event),
    });
    const { control, stateDir } = settings;
    this.attachments = new Attachments({
      server: this.server,
      exports,
      blocks: new NbdBlocks(),
      log,
      socketFolder: control === null ? tmpdir() : dirname(control),
      recordPath: stateDir === null ? null : join(stateDir, 'attached.json'),
    });
  }

  /**
   * Starts everything. The control socket comes last: who can connect finds a daemon that serves.
   * What fails to start takes down what has started; a device that fails is only listed as such.
   * @throws ControlError
   */
  static async start(settings: Settings, log: DaemonLog): Promise<Daemon> {
    const { control, stateDir } = settings;
    const engine = await chooseEngine(settings.engine);
    if (control !== null) await clearStaleSocket(control, 'control socket');
    const store = stateDir === null ? null : StateStore.open(stateDir);
    const daemon = new Daemon(settings, store, engine.name, log);
    try {
      await daemon.startDevices();
      daemon.attachments.restore();
      await daemon.startServing(settings);
      log.info(engine.fields, engine.message);
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  /** The first address a client can be told, for this export. */
  uriOf(name: string): string | null {
    for (const address of this.addresses) {
      const uri = clientUri(address, name, isSecure(this.network, name, address));
      if (uri !== null) return uri;
    }
    return null;
  }

  /** Takes over a changed config file as far as that is safe; logs what has to wait for a restart. */
  async reload(config: Config): Promise<void> {
    if (this.stopping !== undefined) return;
    const { log } = this;
    const before = this.devices;
    this.devices = config.device;
    this.hooks.set(config.hooks);
    if (config['log-level'] !== undefined) log.setLevel(config['log-level']);
    for (const name of Object.keys(before)) {
      if (name in config.device) {
        const isChanged = contentOf(before[name]) !== contentOf(config.device[name]);
        if (isChanged) log.warn({ device: name }, 'changed in the config file: needs a restart');
      } else if (this.manager.has(name) && this.manager.sourceOf(name) === 'config') {
        const isGone = await this.manager.retire(name);
        if (!isGone) log.warn({ device: name }, 'no longer in the config file, but clients use it');
      }
    }
    this.reloadNetwork(config);
    const found = new Map((this.store?.load() ?? []).map((record) => [record.name, record]));
    const wanted = inStackOrder(
      Object.entries(config.device),
      ([name]) => name,
      ([, device]) => legsOfConfig(device),
    );
    for (const [name, device] of wanted) {
      if (!this.manager.has(name)) await this.startConfigured(name, device, found.get(name));
    }
    log.info({}, 'config file reloaded; control, state-dir, listen and engine need a restart');
  }

  /** Rules and certificates count from now on, for clients to come. */
  private reloadNetwork(config: Config): void {
    const before = this.network;
    const after = networkOf(config, before.config['allow-plain-tcp'] === true);
    if (tlsWordOf(before) !== tlsWordOf(after)) {
      this.log.warn({}, 'the mode of TLS is another in the config file: needs a restart');
      return;
    }
    try {
      this.tls?.reload(loadCredentials(tlsFilesOf(after)));
    } catch (error) {
      this.log.error({ reason: reasonOf(error) }, 'certificates not reloaded, the old ones stay');
    }
    this.network = after;
    this.server.setPolicy(policyOf(after));
    this.reloadLimits(limitsOf(after));
  }

  private reloadLimits(limits: ServerLimits): void {
    const places = setThreadLimits(limits);
    if (places < limits.maxConnections) {
      this.log.warn({ places }, 'more connections in [limits] than places: needs a restart');
    }
    this.server.setLimits(limits);
  }

  /**
   * Refuses new requests, finishes and flushes those under way, marks mirrors clean. Called again
   * it answers the same promise.
   */
  stop(drainMs: number = DRAIN_MS): Promise<void> {
    this.stopping ??= this.takeDown(drainMs);
    return this.stopping;
  }

  private async takeDown(drainMs: number): Promise<void> {
    this.control?.close();
    this.metrics?.close();
    this.attachments.stop();
    await this.manager.wakeAll();
    await this.server.close(drainMs);
    await this.manager.stopAll(0);
    this.store?.close();
  }

  private async startDevices(): Promise<void> {
    const found = this.store?.load() ?? [];
    const foundOf = new Map(found.map((one) => [one.name, one]));
    const names = [...new Set([...foundOf.keys(), ...Object.keys(this.devices)])];
    const legsOf = (name: string): readonly string[] => {
      const config = this.devices[name];
      const record = foundOf.get(name)?.record;
      return record === null || record === undefined
        ? config === undefined
          ? []
          : legsOfConfig(config)
        : legsOfRecord(record);
    };
    for (const name of inStackOrder(names, (each) => each, legsOf)) {
      const config = this.devices[name];
      const one = foundOf.get(name);
      if (one === undefined) {
        if (config !== undefined) await this.startConfigured(name, config, undefined);
        continue;
      }
      const { record, damage } = one;
      if (record === null) {
        this.manager.addFailed(name, 'create', damage ?? 'unknown', null, true);
      } else if (record.source === 'config') {
        if (config !== undefined) await this.startConfigured(name, config, one);
        else this.log.info({ device: name }, 'on record, but no longer in the config file');
      } else {
        if (config !== undefined) {
          this.log.error({ device: name }, 'made by dmio, so the config file is ignored for it');
        }
        await this.manager.restore(record);
      }
    }
  }

  private async startServing({ first, listen, control, metrics }: Settings): Promise<void> {
    const isNew = first !== null && !this.manager.has(first.name);
    if (isNew) await this.manager.create(first);
    try {
      for (const address of listen) await this.listen(address);
      if (metrics !== null) {
        this.metrics = await MetricsServer.listen(metrics, this.manager, this.log);
      }
      if (control !== null) await this.listenControl(control);
    } catch (error) {
      if (isNew) await this.manager.undoCreate(first.name);
      throw error;
    }
  }

  private async startConfigured(
    name: string,
    config: Config['device'][string],
    found: FoundRecord | undefined,
  ): Promise<void> {
    try {
      if (found === undefined) {
        await this.manager.create(requestOfConfig(name, config));
        return;
      }
      const { record, damage } = found;
      if (record === null) throw new ControlError('bad-config', damage ?? 'unknown');
      const conflict = contradiction(config, record);
      if (conflict !== undefined) throw new ControlError('bad-config', conflict);
      await this.manager.restore(withConfig(record, config));
    } catch (error) {
      const { record } = found ?? { record: null };
      this.manager.addFailed(name, 'config', reasonOf(error), record, found !== undefined);
    }
  }

  private async listen(address: ListenAddress): Promise<void> {
    const what = 'NBD socket';
    refusePlainTcp(this.network, address);
    if (address.kind === 'unix') await clearStaleSocket(address.path, what);
    try {
      const bound = await this.server.listen(address);
      refusePlainTcp(this.network, bound);
      this.addresses.push(bound);
    } catch (error) {
      if (!(error instanceof ListenError)) throw error;
      const code = error.code === 'EADDRINUSE' ? 'address-in-use' : 'io';
      throw new ControlError(code, error.message);
    }
  }

  private async listenControl(path: string): Promise<void> {
    const handler = makeHandler({
      manager: this.manager,
      isConfigured: (name) => name in this.devices,
      uriOf: (name) => this.uriOf(name),
      engine: this.engine,
      attachments: this.attachments,
    });
    this.control = await ControlServer.listen(path, this.log, handler);
    this.log.info({ control: path }, 'ready');
  }
}

/** What a device is, without who may use it. */
function contentOf(device: Config['device'][string] | undefined): string {
  return JSON.stringify(device, (key, value: unknown) =>
    key === 'tls' || key === 'allow' || key === 'allow-read' ? undefined : value,
  );
}

/** `allowPlainTcp`: said on the command line. */
export function networkOf(config: Config, allowPlainTcp: boolean): NetworkSettings {
  const plain = allowPlainTcp ? { 'allow-plain-tcp': true } : {};
  return { config: { ...config, ...plain }, devices: config.device };
}

function limitsOf({ config: { limits } }: NetworkSettings): ServerLimits {
  const ms = (seconds: number | undefined, otherwise: number): number =>
    seconds === undefined ? otherwise : seconds * 1000;
  return {
    maxConnections: limits?.connections ?? DEFAULT_LIMITS.maxConnections,
    maxConnectionsPerClient:
      limits?.['connections-per-client'] ?? DEFAULT_LIMITS.maxConnectionsPerClient,
    handshakeTimeoutMs: ms(limits?.['handshake-seconds'], DEFAULT_LIMITS.handshakeTimeoutMs),
    stallTimeoutMs: ms(limits?.['stall-seconds'], DEFAULT_LIMITS.stallTimeoutMs),
    maxHeldBytes: limits?.['memory-per-connection'],
  };
}
