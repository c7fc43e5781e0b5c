/** Who may connect, how safely, and how much of it: keys of the config file, and what they mean. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { ControlError } from '../../core/control/error.ts';
import { TLS_MODE } from '../../core/nbd/directory.ts';
import { parseSize, SIZE_FORMAT } from '../../core/base/units.ts';
import { AccessPolicy, parseRule, RULE_FORMAT, type ExportAccess } from '../net/access.ts';
import { MOST_CONNECTIONS } from '../net/limits.ts';
import type { ListenAddress } from '../net/address.ts';
import type { TlsFiles } from '../tls/credentials.ts';

export const TLS_WORDS = ['off', 'selective', 'required'] as const;
export type TlsWord = (typeof TLS_WORDS)[number];

const ruleList = z.array(
  z
    .string({ error: `expected rules: ${RULE_FORMAT}` })
    .refine((text) => parseRule(text) !== undefined, { error: `expected ${RULE_FORMAT}` }),
  { error: `expected an array of rules: ${RULE_FORMAT}` },
);
const filePath = z.string({ error: 'expected a path, as a string' }).min(1, {
  error: 'a path must not be empty',
});
const boolean = z.boolean({ error: 'expected true or false' });

const whole = (least: number, most: number): z.ZodNumber => {
  const error = `expected a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const MEMORY_FORMAT = `${SIZE_FORMAT}, of at least 64KiB`;
const memory = z
  .union([z.string(), z.int()], { error: `expected ${MEMORY_FORMAT}` })
  .transform((given, context) => {
    const bytes = parseSize(String(given));
    if (bytes !== undefined && bytes >= 65536) return bytes;
    context.addIssue(`expected ${MEMORY_FORMAT}`);
    return z.NEVER;
  });

/** Of the whole server. */
export const NETWORK_KEYS = {
  'allow-plain-tcp': boolean.optional(),
  allow: ruleList.optional(),
  'allow-read': ruleList.optional(),
  tls: z
    .strictObject(
      {
        mode: z.enum(TLS_WORDS, { error: `expected one of ${TLS_WORDS.join(', ')}` }),
        certificates: filePath.optional(),
        'psk-file': filePath.optional(),
        'verify-clients': boolean.optional(),
        'plain-unix': boolean.optional(),
      },
      { error: 'expected a table: [tls]' },
    )
    .superRefine((given, context) => {
      if (given.mode === 'off') return;
      if (given.certificates === undefined && given['psk-file'] === undefined) {
        context.addIssue('expected certificates = FOLDER or psk-file = FILE');
      }
    })
    .optional(),
  limits: z
    .strictObject(
      {
        connections: whole(1, MOST_CONNECTIONS).optional(),
        'connections-per-client': whole(1, MOST_CONNECTIONS).optional(),
        'handshake-seconds': whole(1, 3600).optional(),
        'stall-seconds': whole(1, 86400).optional(),
        'memory-per-connection': memory.optional(),
      },
      { error: 'expected a table: [limits]' },
    )
    .optional(),
};

/** Of one device. */
export const ACCESS_KEYS = {
  tls: z.literal('required', { error: 'expected "required"' }).optional(),
  allow: ruleList.optional(),
  'allow-read': ruleList.optional(),
};

const networkSchema = z.object(NETWORK_KEYS);
const accessSchema = z.object(ACCESS_KEYS);
type NetworkConfig = z.infer<typeof networkSchema>;
type AccessConfig = z.infer<typeof accessSchema>;

/** The network side of a daemon's settings. */
export interface NetworkSettings {
  readonly config: NetworkConfig;
  /** By device name. */
  readonly devices: Readonly<Record<string, AccessConfig>>;
}

export const DEFAULT_NETWORK: NetworkSettings = { config: {}, devices: {} };

export function tlsWordOf({ config }: NetworkSettings): TlsWord {
  return config.tls?.mode ?? 'off';
}

export function tlsFilesOf({ config: { tls } }: NetworkSettings): TlsFiles {
  return {
    certificates: tls?.certificates,
    pskFile: tls?.['psk-file'],
    verifyClients: tls?.['verify-clients'] === true,
  };
}

export function policyOf(network: NetworkSettings): AccessPolicy {
  const { config, devices } = network;
  const mode = { off: TLS_MODE.OFF, selective: TLS_MODE.SELECTIVE, required: TLS_MODE.FORCED };
  const byExport = Object.entries(devices).map(([name, given]) => [name, accessOf(given)] as const);
  const plainUnix = config.tls?.['plain-unix'] === true;
  return new AccessPolicy(mode[tlsWordOf(network)], accessOf(config), new Map(byExport), plainUnix);
}

function accessOf(given: Omit<AccessConfig, 'tls'> & { readonly tls?: unknown }): ExportAccess {
  const rules = (texts: readonly string[] | undefined) =>
    texts?.flatMap((text) => parseRule(text) ?? []);
  return {
    allow: rules(given.allow),
    allowRead: rules(given['allow-read']),
    needsTls: given.tls === 'required',
  };
}

/** A client of this export is told a secure URI. */
export function isSecure(network: NetworkSettings, name: string, address: ListenAddress): boolean {
  if (network.devices[name]?.tls === 'required') return true;
  if (tlsWordOf(network) !== 'required') return false;
  return address.kind !== 'unix' || network.config.tls?.['plain-unix'] !== true;
}

/**
 * Anybody on the network could read and change what is served in the clear: somebody has to have
 * said that this is meant. Undefined: nobody can, or it was said.
 */
export function plainTcpProblem(
  { tls, 'allow-plain-tcp': isAllowed }: NetworkConfig,
  address: ListenAddress,
): string | undefined {
  if (address.kind === 'unix' || address.host === undefined || isLoopback(address.host)) {
    return undefined;
  }
  if (tls?.mode === 'required' || isAllowed === true) return undefined;
  return (
    `${address.host} is reachable from other machines, and TLS is not required: ` +
    'require it, or say allow-plain-tcp (config: allow-plain-tcp = true; command line: --allow-plain-tcp)'
  );
}

/** @throws ControlError bad-argument */
export function refusePlainTcp({ config }: NetworkSettings, address: ListenAddress): void {
  const problem = plainTcpProblem(config, address);
  if (problem !== undefined) throw new ControlError('bad-argument', problem);
}

export function isLoopback(host: string): boolean {
  const plain = host.replace(/^::ffff:/i, '');
  if (isIP(plain) === 4) return plain.startsWith('127.');
  return plain === '::1' || plain === 'localhost';
}
