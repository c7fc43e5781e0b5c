/** The keys of dmiod.toml, what each may be, and the sentence for what it may not. */
import { z } from 'zod';
import { nameError } from '../../core/control/name.ts';
import { parseSize, SECTOR_SIZE, SIZE_FORMAT } from '../../core/base/units.ts';
import { CACHE_FORMAT, cacheModes, parseCacheWord } from '../../core/control/cache.ts';
import { ControlError } from '../../core/control/error.ts';
import {
  LEG_TIMEOUT_FORMAT,
  legTimeoutError,
  parseLegTimeoutWord,
} from '../../core/control/leg-timeout.ts';
import { pathsOf, readTable } from '../devices/assemble.ts';
import { parseReadPolicy, READ_POLICY_FORMAT } from '../devices/read-policy.ts';
import { isRegionSize, legsError } from '../devices/request.ts';
import { METRICS_FORMAT, parseMetrics } from '../metrics.ts';
import { EVENT_KINDS } from '../event.ts';
import { LISTEN_FORMAT, parseListen, socketPathError } from '../listen.ts';
import { ACCESS_KEYS, NETWORK_KEYS } from './network.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const ENGINES = ['auto', 'uring', 'node'] as const;
export type Engine = (typeof ENGINES)[number];

const path = z
  .string({ error: 'expected a path, as a string' })
  .min(1, { error: 'a path must not be empty' })
  .refine((text) => !text.includes('\0'), { error: 'a path must not contain NUL' });

const boolean = z.boolean({ error: 'expected true or false' });

const listenAddress = z
  .string({ error: `expected ${LISTEN_FORMAT}, as a string` })
  .transform((text, context) => {
    const address = parseListen(text);
    if (address !== undefined) return address;
    context.addIssue(`${JSON.stringify(text)}: expected ${LISTEN_FORMAT}`);
    return z.NEVER;
  });

const metricsAddress = z
  .string({ error: `expected ${METRICS_FORMAT}, as a string` })
  .transform((text, context) => {
    const address = parseMetrics(text);
    if (address !== undefined) return address;
    context.addIssue(`${JSON.stringify(text)}: expected ${METRICS_FORMAT}`);
    return z.NEVER;
  });

const sizeBytes = z
  .union([z.string(), z.int()], { error: `expected ${SIZE_FORMAT}` })
  .transform((given, context) => {
    const bytes = parseSize(String(given));
    if (bytes === undefined) context.addIssue(`expected ${SIZE_FORMAT}`);
    else if (bytes === 0 || bytes % SECTOR_SIZE !== 0) {
      context.addIssue(`expected a multiple of ${SECTOR_SIZE} bytes above 0`);
    } else return bytes;
    return z.NEVER;
  });

const regionSizeBytes = sizeBytes.refine(isRegionSize, {
  error: 'expected a power of two of at least 1024 bytes',
});

const legs = z.array(path, { error: 'expected an array of legs' }).superRefine((given, context) => {
  const twice = given.find((leg, i) => given.indexOf(leg) !== i);
  const named = twice === undefined ? undefined : `leg ${JSON.stringify(twice)} is named twice`;
  const problem = legsError(given) ?? named;
  if (problem !== undefined) context.addIssue(problem);
});

const tableLines = z
  .string({ error: 'expected table lines, as a string' })
  .superRefine((text, context) => {
    try {
      readTable(text);
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      context.addIssue(error.message);
    }
  });

const engine = z.enum(ENGINES, { error: `expected one of ${ENGINES.join(', ')}` });

const readPolicy = z
  .string({ error: `expected ${READ_POLICY_FORMAT}` })
  .refine((text) => parseReadPolicy(text) !== undefined, {
    error: `expected ${READ_POLICY_FORMAT}`,
  });

const cacheWord = z
  .string({ error: `expected ${CACHE_FORMAT}` })
  .refine((text) => parseCacheWord(text) !== undefined, { error: `expected ${CACHE_FORMAT}` });

const cache = z.union([cacheWord.transform((word) => [word]), z.array(cacheWord)], {
  error: `expected ${CACHE_FORMAT}, or an array of these`,
});

const legTimeoutWord = z
  .union([z.string(), z.number()], { error: `expected ${LEG_TIMEOUT_FORMAT}` })
  .transform(String)
  .refine((text) => parseLegTimeoutWord(text) !== undefined, {
    error: `expected ${LEG_TIMEOUT_FORMAT}`,
  });

const legTimeout = z.union([legTimeoutWord.transform((word) => [word]), z.array(legTimeoutWord)], {
  error: `expected ${LEG_TIMEOUT_FORMAT}, or an array of these`,
});

const METADATA_FORMAT = 'expected "internal" or "external:/DIR"';
const LOG_FORMAT = 'expected "native", "core" or "disk=PATH"';

const device = z
  .strictObject(
    {
      mirror: legs.optional(),
      linear: path.optional(),
      table: tableLines.optional(),
      size: sizeBytes.optional(),
      log: z
        .string({ error: LOG_FORMAT })
        .regex(/^(?:core|native|disk=.+)$/, { error: LOG_FORMAT })
        .optional(),
      'region-size': regionSizeBytes.optional(),
      metadata: z
        .string({ error: METADATA_FORMAT })
        .regex(/^(?:internal|external:\/.*)$/, { error: METADATA_FORMAT })
        .optional(),
      'read-policy': readPolicy.optional(),
      cache: cache.optional(),
      'leg-timeout': legTimeout.optional(),
      'read-only': boolean.optional(),
      'assume-clean': boolean.optional(),
      ...ACCESS_KEYS,
    },
    { error: 'expected a table: [device.NAME]' },
  )
  .superRefine((given, context) => {
    const kinds = KINDS.filter((kind) => given[kind] !== undefined);
    if (kinds.length !== 1) {
      const found = kinds.length === 0 ? 'none' : kinds.join(' and ');
      context.addIssue(`expected exactly one of ${KINDS.join(', ')}; found ${found}`);
    }
    const [kind] = kinds;
    for (const key of MIRROR_KEYS) {
      if (given[key] !== undefined && kind !== undefined && kind !== 'mirror') {
        context.addIssue({ code: 'custom', path: [key], message: 'only a mirror has it' });
      }
    }
    const named = given.mirror ?? (given.linear === undefined ? undefined : [given.linear]);
    const caches = named === undefined ? {} : cacheModes(given.cache ?? [], named);
    if (typeof caches === 'string') {
      context.addIssue({ code: 'custom', path: ['cache'], message: caches });
    }
    const legNames = given.mirror ?? (given.table === undefined ? [] : legsOfTable(given.table));
    const wrong = legTimeoutError(given['leg-timeout'] ?? [], legNames);
    if (wrong !== undefined) {
      context.addIssue({ code: 'custom', path: ['leg-timeout'], message: wrong });
    }
    const policy = parseReadPolicy(given['read-policy'] ?? '');
    const count = given.mirror?.length ?? 0;
    if (policy?.kind === 'prefer' && kind === 'mirror' && policy.leg >= count) {
      const message = `the legs are 0 to ${count - 1}`;
      context.addIssue({ code: 'custom', path: ['read-policy'], message });
    }
    if (given.size !== undefined && kind === 'table') {
      context.addIssue({ code: 'custom', path: ['size'], message: 'a table says its own size' });
    }
  });

const KINDS = ['mirror', 'linear', 'table'] as const;
const MIRROR_KEYS = ['log', 'region-size', 'metadata', 'read-policy', 'assume-clean'] as const;

/** A table that cannot be read has its own complaint. */
function legsOfTable(table: string): readonly string[] {
  try {
    return pathsOf(readTable(table));
  } catch {
    return [];
  }
}

const seconds = z.int({ error: 'expected seconds, as a whole number' });

const hooks = z.strictObject(
  {
    run: z
      .array(z.string({ error: 'expected a string' }), {
        error: 'expected a program and its arguments',
      })
      .min(1, { error: 'expected a program and its arguments' })
      .refine(([program = '']) => program.startsWith('/'), {
        error: 'the program is wanted with its whole path',
      }),
    events: z
      .array(z.enum(EVENT_KINDS, { error: `expected one of ${EVENT_KINDS.join(', ')}` }), {
        error: `expected an array of ${EVENT_KINDS.join(', ')}`,
      })
      .optional(),
    timeout: seconds
      .min(1, { error: 'expected 1 to 3600 seconds' })
      .max(3600, { error: 'expected 1 to 3600 seconds' })
      .optional(),
  },
  { error: 'expected a table: [hooks]' },
);

const deviceName = z.string().superRefine((name, context) => {
  const problem = nameError(name);
  if (problem !== undefined) context.addIssue(problem);
});

const SECONDS = 'expected seconds, 0.1 to 86400';

export const configSchema = z
  .strictObject({
    control: path
      .superRefine((text, context) => {
        const problem = socketPathError(text);
        if (problem !== undefined) context.addIssue(problem);
      })
      .optional(),
    'state-dir': path.optional(),
    listen: z
      .array(listenAddress, { error: `expected an array of ${LISTEN_FORMAT}` })
      .min(1, { error: 'expected at least one address' })
      .optional(),
    metrics: metricsAddress.optional(),
    engine: engine.optional(),
    'log-level': z
      .enum(LOG_LEVELS, { error: `expected one of ${LOG_LEVELS.join(', ')}` })
      .optional(),
    'auto-re-add': boolean.optional(),
    're-add-delay': z
      .number({ error: SECONDS })
      .min(0.1, { error: SECONDS })
      .max(86_400, { error: SECONDS })
      .optional(),
    hooks: hooks.optional(),
    ...NETWORK_KEYS,
    device: z.record(deviceName, device, { error: 'expected tables: [device.NAME]' }).default({}),
  })
  .superRefine((given, context) => {
    if ((given.tls?.mode ?? 'off') !== 'off') return;
    for (const [name, { tls }] of Object.entries(given.device)) {
      if (tls === undefined) continue;
      const message = 'TLS is off: say mode = "selective" or "required" in [tls]';
      context.addIssue({ code: 'custom', path: ['device', name, 'tls'], message });
    }
  });

export type Config = z.infer<typeof configSchema>;
export type DeviceConfig = Config['device'][string];
