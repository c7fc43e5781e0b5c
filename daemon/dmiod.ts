/** `dmiod`: options over config file over defaults, then a daemon until a signal comes. */
import { resolve } from 'node:path';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { ControlError, EXIT, oneLine } from '../core/control/error.ts';
import { VERSION } from '../core/control/version.ts';
import { DEFAULT_CONFIG_FILE, loadConfig } from './config/load.ts';
import { ENGINES, LOG_LEVELS } from './config/schema.ts';
import type { Config, Engine, LogLevel } from './config/schema.ts';
import { Daemon, networkOf } from './daemon.ts';
import type { Settings } from './daemon.ts';
import { DEFAULT_RETURN } from './devices/leg-return.ts';
import { LISTEN_FORMAT, parseListen, takeListenFds } from './listen.ts';
import { takeIoFlusherMark } from './io-flusher.ts';
import { openLog } from './log.ts';
import { METRICS_FORMAT, parseMetrics, type MetricsAddress } from './metrics.ts';
import type { ListenAddress } from './net/address.ts';
import { openNotifier } from './notify.ts';
import { runUntilStopped, Signals } from './run.ts';

const DEFAULTS = {
  control: '/run/dmiod/control.sock',
  stateDir: '/var/lib/dmiod',
  listen: { kind: 'unix', path: '/run/dmiod/nbd.sock' },
  logLevel: 'info',
} as const;

const FLUSHER = 'safe on a machine that writes through this daemon: every thread is an I/O flusher';
const NO_FLUSHER = 'no I/O flusher: attach devices on this machine only as root (CAP_SYS_RESOURCE)';

interface Options {
  config?: string;
  control?: string;
  stateDir?: string;
  listen?: ListenAddress[];
  metrics?: MetricsAddress;
  engine?: Engine;
  logLevel?: LogLevel;
  allowPlainTcp?: boolean;
  checkConfig?: boolean;
}

function makeProgram(): Command {
  return new Command('dmiod')
    .description('mirrored block devices over NBD')
    .version(VERSION)
    .option('--config <FILE>', `config file (default: ${DEFAULT_CONFIG_FILE}, if it is there)`)
    .option('--control <PATH>', `control socket (default: ${DEFAULTS.control})`)
    .option('--state-dir <DIR>', `what must outlive the daemon (default: ${DEFAULTS.stateDir})`)
    .option(
      '--listen <ADDRESS>',
      `${LISTEN_FORMAT}; may be repeated (default: unix:${DEFAULTS.listen.path})`,
      addListen,
    )
    .option('--metrics <HOST:PORT>', 'a Prometheus page at http://HOST:PORT/metrics', metricsOption)
    .option('--engine <E>', `how files are read and written: ${ENGINES.join(', ')}`, engineOption)
    .addOption(new Option('--log-level <L>', 'how much is logged').choices(LOG_LEVELS))
    .option('--allow-plain-tcp', 'listen beyond this machine without TLS')
    .option('--check-config', 'read the config file, say OK or what is wrong, and exit')
    .allowExcessArguments(false)
    .addHelpText('after', '\nExample:\n  dmiod --state-dir ./state --listen unix:./nbd.sock')
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => {
        write(`dmiod: ${oneLine(text.trim().replace(/^error: /, ''))}\n`);
      },
    });
}

function addListen(text: string, before: ListenAddress[] | undefined): ListenAddress[] {
  const address = parseListen(text);
  if (address === undefined) throw new InvalidArgumentError(`Expected ${LISTEN_FORMAT}.`);
  return [...(before ?? []), address];
}

function metricsOption(text: string): MetricsAddress {
  const address = parseMetrics(text);
  if (address === undefined) throw new InvalidArgumentError(`Expected ${METRICS_FORMAT}.`);
  return address;
}

function engineOption(text: string): Engine {
  const engine = ENGINES.find((name) => name === text);
  if (engine !== undefined) return engine;
  throw new InvalidArgumentError(`Expected one of ${ENGINES.join(', ')}.`);
}

function settingsOf(options: Options, config: Config): Settings {
  const fromSystemd: readonly ListenAddress[] = takeListenFds(process.env, process.pid);
  const listen = options.listen ?? config.listen ?? [DEFAULTS.listen];
  return {
    control: resolve(options.control ?? config.control ?? DEFAULTS.control),
    stateDir: resolve(options.stateDir ?? config['state-dir'] ?? DEFAULTS.stateDir),
    listen: (fromSystemd.length > 0 ? fromSystemd : listen).map(absolute),
    metrics: options.metrics ?? config.metrics ?? null,
    devices: config.device,
    network: networkOf(config, options.allowPlainTcp === true),
    engine: options.engine ?? config.engine ?? 'auto',
    legReturn: {
      isAutomatic: config['auto-re-add'] ?? DEFAULT_RETURN.isAutomatic,
      delayMs: 1000 * (config['re-add-delay'] ?? DEFAULT_RETURN.delayMs / 1000),
    },
    first: null,
    hooks: config.hooks,
  };
}

function absolute(address: ListenAddress): ListenAddress {
  return address.kind === 'unix' ? { ...address, path: resolve(address.path) } : address;
}

async function run(options: Options): Promise<number> {
  const load = (): Config => loadConfig(options.config, options.allowPlainTcp);
  const config = load();
  if (options.checkConfig === true) {
    process.stdout.write('OK\n');
    return EXIT.DONE;
  }
  const log = openLog(options.logLevel ?? config['log-level'] ?? DEFAULTS.logLevel);
  const isFlusher = takeIoFlusherMark(process.env);
  const notifier = openNotifier(process.env, process.pid);
  const signals = new Signals();
  const daemon = await Daemon.start(settingsOf(options, config), log);
  log.info({ isFlusher }, isFlusher ? FLUSHER : NO_FLUSHER);
  notifier.ready('serving');
  const reload = async (): Promise<void> => {
    notifier.reloading();
    try {
      await daemon.reload(load());
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.error({ reason }, 'the config file was not reloaded');
    }
    notifier.ready('serving');
  };
  return runUntilStopped(daemon, { log, signals, reload, stopping: () => notifier.stopping() });
}

function exitOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.DONE : EXIT.USAGE;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`dmiod: ${oneLine(message)}\n`);
  return error instanceof ControlError ? error.exit : EXIT.FAILED;
}

/** Runs until a signal; fulfilled with the exit code. */
export async function main(): Promise<number> {
  try {
    return await run(makeProgram().parse().opts());
  } catch (error) {
    return exitOf(error);
  }
}
