import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { mapCacheWord } from '../../core/control/cache.ts';
import { ControlError } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { codeOf, reasonOf } from '../system-error.ts';
import { mapLogPath } from '../devices/request.ts';
import { plainTcpProblem } from './network.ts';
import { configSchema } from './schema.ts';
import type { Config, DeviceConfig } from './schema.ts';
import { parseTomlText, TomlError } from './toml.ts';
import type { TomlDocument } from './toml.ts';

export const DEFAULT_CONFIG_FILE = '/etc/dmiod/dmiod.toml';

export const NO_CONFIG: Config = { device: {} };

/**
 * Reads the config file. The default file may be absent; a named one may not. `allowPlainTcp`: said
 * on the command line.
 * @throws ControlError bad-config, `FILE:LINE: key "x": what is wrong`
 */
export function loadConfig(named: string | undefined, allowPlainTcp = false): Config {
  const file = named ?? DEFAULT_CONFIG_FILE;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (named === undefined && isAbsent(error)) return NO_CONFIG;
    throw new ControlError('bad-config', `${file}: ${reasonOf(error)}`);
  }
  return parseConfig(file, text, allowPlainTcp);
}

/** Relative paths in the file are relative to the file's folder, wherever the daemon was started. */
export function parseConfig(file: string, text: string, allowPlainTcp = false): Config {
  let document: TomlDocument;
  try {
    document = parseTomlText(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new ControlError('bad-config', `${file}:${error.line}: ${error.message}`);
  }
  const parsed = configSchema.safeParse(document.value);
  if (!parsed.success)
    throw new ControlError('bad-config', firstProblem(file, document, parsed.error));
  for (const [i, address] of (parsed.data.listen ?? []).entries()) {
    const problem = allowPlainTcp ? undefined : plainTcpProblem(parsed.data, address);
    if (problem === undefined) continue;
    const line = document.lineOf(['listen', i]);
    throw new ControlError('bad-config', `${file}:${line}: key "listen.${i}": ${problem}`);
  }
  return withAbsolutePaths(parsed.data, dirname(resolve(file)));
}

function isAbsent(error: unknown): boolean {
  return codeOf(error) === 'ENOENT';
}

interface Problem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** The problem that stands first in the file. */
function firstProblem(file: string, document: TomlDocument, error: z.ZodError): string {
  const problems = error.issues.flatMap(problemsOf);
  const located = problems.map((problem) => ({ ...problem, line: document.lineOf(problem.path) }));
  located.sort((a, b) => a.line - b.line);
  const [first] = located;
  if (first === undefined) return `${file}: invalid`;
  return `${file}:${first.line}: key "${first.path.map(String).join('.')}": ${first.message}`;
}

function problemsOf(issue: z.core.$ZodIssue): readonly Problem[] {
  if (issue.code === 'unrecognized_keys') {
    const message = `unknown key (allowed: ${allowedKeys(issue.path)})`;
    return issue.keys.map((key) => ({ path: [...issue.path, key], message }));
  }
  // A device name that cannot be: the sentence is in the inner issue.
  if (issue.code === 'invalid_key') {
    return issue.issues.map(({ message }) => ({ path: issue.path, message }));
  }
  return [{ path: issue.path, message: issue.message }];
}

/** The keys of the object at `path`: the whole file, the hooks, or a device. */
function allowedKeys(path: readonly PropertyKey[]): string {
  return Object.keys(shapeAt(path))
    .map((key) => (path.length === 0 ? (TABLES[key] ?? key) : key))
    .join(', ');
}

/** Keys that are written as tables. */
const TABLES: Readonly<Record<string, string>> = {
  device: '[device.NAME]',
  hooks: '[hooks]',
  tls: '[tls]',
  limits: '[limits]',
};

function shapeAt([first]: readonly PropertyKey[]): object {
  const { shape } = configSchema;
  switch (first) {
    case undefined:
      return shape;
    case 'tls':
      return shape.tls.unwrap().shape;
    case 'limits':
      return shape.limits.unwrap().shape;
    case 'hooks':
      return shape.hooks.unwrap().shape;
    default:
      return shape.device.unwrap().valueType.shape;
  }
}

function withAbsolutePaths(config: Config, folder: string): Config {
  const absolute = (path: string): string => resolve(folder, path);
  const { control, listen, tls } = config;
  const stateDir = config['state-dir'];
  return {
    ...config,
    ...(control !== undefined && { control: absolute(control) }),
    ...(stateDir !== undefined && { 'state-dir': absolute(stateDir) }),
    ...(listen !== undefined && {
      listen: listen.map((address) =>
        address.kind === 'unix' ? { ...address, path: absolute(address.path) } : address,
      ),
    }),
    ...(tls !== undefined && {
      tls: {
        ...tls,
        ...(tls.certificates !== undefined && { certificates: absolute(tls.certificates) }),
        ...(tls['psk-file'] !== undefined && { 'psk-file': absolute(tls['psk-file']) }),
      },
    }),
    device: Object.fromEntries(
      Object.entries(config.device).map(([name, device]) => [
        name,
        withAbsoluteLegs(device, folder),
      ]),
    ),
  };
}

function withAbsoluteLegs(device: DeviceConfig, folder: string): DeviceConfig {
  const { mirror, linear, cache, log } = device;
  return {
    ...device,
    ...(mirror !== undefined && { mirror: mirror.map((leg) => absoluteLeg(leg, folder)) }),
    ...(log !== undefined && { log: mapLogPath(log, (path) => resolve(folder, path)) }),
    ...(linear !== undefined && { linear: absoluteLeg(linear, folder) }),
    ...(cache !== undefined && {
      cache: cache.map((word) => mapCacheWord(word, (leg) => absoluteLeg(leg, folder))),
    }),
  };
}

/** URIs and `dm:NAME` are no paths. */
export function absoluteLeg(leg: string, folder: string): string {
  return isLegUri(leg) ? leg : resolve(folder, leg);
}
