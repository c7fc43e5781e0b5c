/** `dmio serve`: a private daemon for one device, in the foreground, that remembers nothing. */
import { fstatSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { mapCacheWord } from '../core/control/cache.ts';
import { mapLegTimeoutWord } from '../core/control/leg-timeout.ts';
import { ControlError } from '../core/control/error.ts';
import { absoluteLeg } from './config/load.ts';
import { ENGINES, type Engine } from './config/schema.ts';
import { TLS_WORDS, type NetworkSettings } from './config/network.ts';
import { Daemon } from './daemon.ts';
import type { Settings } from './daemon.ts';
import { DEFAULT_RETURN } from './devices/leg-return.ts';
import { mapMetadataPath } from './devices/external-metadata.ts';
import { withAbsolutePaths } from './devices/assemble.ts';
import { DEFAULT_SERVE_LOG, mapLogPath, type DeviceRequest } from './devices/request.ts';
import { socketPathError } from './listen.ts';
import { openLog } from './log.ts';
import { parseRule, RULE_FORMAT } from './net/access.ts';
import type { ListenAddress } from './net/address.ts';
import { runUntilStopped, Signals } from './run.ts';

export interface ServeOptions {
  readonly mirror?: readonly string[];
  readonly linear?: string;
  readonly table?: string;
  readonly size?: number;
  readonly create?: boolean;
  readonly log?: string;
  readonly metadata?: string;
  readonly regionSize?: number;
  readonly readPolicy?: string;
  readonly cache?: readonly string[];
  readonly legTimeout?: readonly string[];
  readonly assumeClean?: boolean;
  readonly name?: string;
  readonly socket?: string;
  readonly port?: number;
  readonly bind?: string;
  readonly stdio?: boolean;
  readonly readOnly?: boolean;
  readonly engine?: string;
  readonly tls?: string;
  readonly tlsCertificates?: string;
  readonly tlsPsk?: string;
  readonly tlsVerifyClients?: boolean;
  readonly allow?: readonly string[];
  readonly allowRead?: readonly string[];
  readonly allowPlainTcp?: boolean;
  /** Also serves a control socket there. */
  readonly control?: string | undefined;
}

/**
 * Serves until a signal, or with `stdio` until the client goes. Returns the exit code.
 * @throws ControlError nothing is left behind then
 */
export async function serve(options: ServeOptions): Promise<number> {
  const request = requestOf(options);
  const log = openLog('warn');
  const signals = new Signals();
  const daemon = await Daemon.start(
    { ...settingsOf(options), network: networkOf(options), first: request },
    log,
  );
  if (options.stdio === true)
    return runUntilStopped(daemon, { log, signals, ended: daemon.server.serveStdio() });
  const line = `serving ${request.name} at ${daemon.uriOf(request.name) ?? ''}\n`;
  return runUntilStopped(daemon, { log, signals, ready: () => void process.stdout.write(line) });
}

function requestOf(options: ServeOptions): DeviceRequest {
  const { mirror, linear, table, create } = options;
  const folder = process.cwd();
  const text = table === '-' ? readFileSync(0, 'utf8') : table;
  return {
    name: options.name ?? 'data',
    source: 'serve',
    mirror: mirror?.map((leg) => (leg === '' ? leg : absoluteLeg(leg, folder))),
    linear: linear === undefined ? undefined : absoluteLeg(linear, folder),
    table: text === undefined ? undefined : withAbsolutePaths(text, folder),
    sizeBytes: options.size,
    log: mapLogPath(
      mirror === undefined ? options.log : (options.log ?? DEFAULT_SERVE_LOG),
      (path) => resolve(folder, path),
    ),
    regionSizeBytes: options.regionSize,
    metadataPlace: mapMetadataPath(options.metadata, (path) => resolve(folder, path)),
    readPolicy: options.readPolicy,
    cache: options.cache?.map((word) => mapCacheWord(word, (leg) => absoluteLeg(leg, folder))),
    legTimeout: options.legTimeout?.map((word) =>
      mapLegTimeoutWord(word, (leg) => absoluteLeg(leg, folder)),
    ),
    assumeClean: options.assumeClean === true,
    readOnly: options.readOnly === true,
    mayCreate: create === true,
    createHint: '--create --size S makes it',
    // The same legs are served again and again: what they hold is then on all of them.
    content: create === true ? { kind: 'take' } : REFUSE_DIFFERENT,
    metadata: create === true ? 'start-or-new' : 'start',
  };
}

const REFUSE_DIFFERENT = {
  kind: 'refuse-different',
  remedy: 'the first leg would be copied over it; --create does that',
} as const;

function settingsOf({
  socket,
  port,
  bind,
  stdio,
  control,
  engine,
}: ServeOptions): Omit<Settings, 'first'> {
  const places = [socket, port, stdio === true ? true : undefined];
  if (places.filter((place) => place !== undefined).length !== 1) {
    throw new ControlError('bad-argument', 'say where: one of --socket PATH, --port P, --stdio');
  }
  if (stdio === true) checkStdio();
  if (bind !== undefined && port === undefined) {
    throw new ControlError('bad-argument', '--bind goes with --port');
  }
  return {
    control: control === undefined ? null : resolve(control),
    stateDir: null,
    metrics: null,
    listen: listenOf(socket, port, bind),
    devices: {},
    engine: engineOf(engine ?? 'auto'),
    legReturn: DEFAULT_RETURN,
  };
}

/** The options say what the keys of the config file would. */
function networkOf(options: ServeOptions): NetworkSettings {
  const { tlsCertificates, tlsPsk, allow, allowRead } = options;
  const hasKeys = tlsCertificates !== undefined || tlsPsk !== undefined;
  const mode = TLS_WORDS.find((word) => word === (options.tls ?? (hasKeys ? 'required' : 'off')));
  if (mode === undefined) {
    const words = TLS_WORDS.join(', ');
    throw new ControlError('bad-argument', `--tls ${options.tls ?? ''}: expected one of ${words}`);
  }
  if (mode !== 'off' && !hasKeys) {
    throw new ControlError('bad-argument', '--tls needs --tls-certificates DIR or --tls-psk FILE');
  }
  const bad = [...(allow ?? []), ...(allowRead ?? [])].find(
    (text) => parseRule(text) === undefined,
  );
  if (bad !== undefined) {
    throw new ControlError('bad-argument', `rule ${bad}: expected ${RULE_FORMAT}`);
  }
  return {
    config: {
      'allow-plain-tcp': options.allowPlainTcp === true,
      allow: allow === undefined ? undefined : [...allow],
      'allow-read': allowRead === undefined ? undefined : [...allowRead],
      tls: {
        mode,
        certificates: tlsCertificates === undefined ? undefined : resolve(tlsCertificates),
        'psk-file': tlsPsk === undefined ? undefined : resolve(tlsPsk),
        'verify-clients': options.tlsVerifyClients === true,
      },
    },
    devices: {},
  };
}

/** A client is on a stream; a file and a terminal are none. */
function checkStdio(): void {
  for (const [fd, name] of ['stdin', 'stdout'].entries()) {
    const stats = fstatSync(fd);
    if (stats.isSocket() || stats.isFIFO()) continue;
    const message = `--stdio: ${name} is no socket and no pipe; who starts it must give it one`;
    throw new ControlError('bad-argument', message);
  }
}

function listenOf(
  socket: string | undefined,
  port: number | undefined,
  bind: string | undefined,
): readonly ListenAddress[] {
  if (socket !== undefined) {
    const problem = socketPathError(resolve(socket));
    if (problem !== undefined) throw new ControlError('bad-argument', problem);
    return [{ kind: 'unix', path: resolve(socket) }];
  }
  if (port === undefined) return [];
  if (port > 65535) throw new ControlError('bad-argument', `port ${port}: at most 65535`);
  return [{ kind: 'tcp', host: bind ?? '127.0.0.1', port }];
}

function engineOf(text: string): Engine {
  const engine = ENGINES.find((name) => name === text);
  if (engine !== undefined) return engine;
  throw new ControlError('bad-argument', `engine ${text}: expected one of ${ENGINES.join(', ')}`);
}
