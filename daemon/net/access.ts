/** Who may do what with which export: rules of the config file, asked at every option. */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { ACCESS, TLS_MODE } from '../../core/nbd/directory.ts';
import type { Access, ClientRules, TlsMode } from '../../core/nbd/directory.ts';
import type { ClientIdentity } from './client.ts';

export const RULE_FORMAT =
  'uid:N, gid:N, address:IP or address:IP/BITS, subject:ATTRIBUTE=VALUE[,...], psk:IDENTITY';

/** One way to be somebody. */
export type AccessRule =
  | { readonly kind: 'uid' | 'gid'; readonly id: number }
  | { readonly kind: 'address'; readonly list: BlockList }
  | { readonly kind: 'subject'; readonly attributes: readonly (readonly [string, string])[] }
  | { readonly kind: 'psk'; readonly identity: string };

/** Undefined: the text is no rule. */
export function parseRule(text: string): AccessRule | undefined {
  const at = text.indexOf(':');
  const [kind, value] = [text.slice(0, at), text.slice(at + 1)];
  switch (kind) {
    case 'uid':
    case 'gid':
      return /^\d{1,10}$/.test(value) ? { kind, id: Number(value) } : undefined;
    case 'address':
      return parseAddress(value);
    case 'subject':
      return parseSubject(value);
    case 'psk':
      return value === '' ? undefined : { kind, identity: value };
    default:
      return undefined;
  }
}

function parseAddress(text: string): AccessRule | undefined {
  const [ip = '', bits, ...more] = text.split('/');
  const family = isIP(ip) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(ip) === 0 || more.length > 0) return undefined;
  const most = family === 'ipv6' ? 128 : 32;
  const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
  if (prefix < 0 || prefix > most) return undefined;
  const list = new BlockList();
  list.addSubnet(ip, prefix, family);
  return { kind: 'address', list };
}

function parseSubject(text: string): AccessRule | undefined {
  const attributes = text.split(',').map((part): readonly [string, string] => {
    const at = part.indexOf('=');
    return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
  });
  const isWhole = attributes.every(([name, value]) => name !== '' && value !== '');
  return isWhole && text.includes('=') ? { kind: 'subject', attributes } : undefined;
}

export function matches(rule: AccessRule, client: ClientIdentity): boolean {
  switch (rule.kind) {
    case 'uid':
      return client.credentials?.uid === rule.id;
    case 'gid':
      return client.credentials?.gid === rule.id;
    case 'address': {
      const { address } = client;
      return address !== null && rule.list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
    }
    case 'subject': {
      const subject = client.tls?.subject;
      if (subject === null || subject === undefined) return false;
      return rule.attributes.every(([name, value]) => subject[name]?.includes(value) === true);
    }
    case 'psk':
      return client.tls?.psk === rule.identity;
  }
}

/** Rules for one export. Neither list: everybody may everything; else who is in none may nothing. */
export interface ExportAccess {
  readonly allow?: readonly AccessRule[] | undefined;
  readonly allowRead?: readonly AccessRule[] | undefined;
  readonly needsTls?: boolean | undefined;
}

/** Everything a server knows about who may what. Replaced as a whole when the config changes. */
export class AccessPolicy {
  readonly tls: TlsMode;
  private readonly common: ExportAccess;
  private readonly byExport: ReadonlyMap<string, ExportAccess>;
  private readonly plainUnix: boolean;

  /** `plainUnix`: unix sockets need no TLS even where it is required: nobody can listen there. */
  constructor(
    tls: TlsMode = TLS_MODE.OFF,
    common: ExportAccess = {},
    byExport: ReadonlyMap<string, ExportAccess> = new Map(),
    plainUnix = false,
  ) {
    this.tls = tls;
    this.common = common;
    this.byExport = byExport;
    this.plainUnix = plainUnix;
  }

  rulesFor(client: ClientIdentity): ClientRules {
    return {
      tls: this.modeFor(client),
      accessTo: ({ name }) => this.accessTo(client, name),
    };
  }

  private modeFor(client: ClientIdentity): TlsMode {
    if (client.tls !== null) return TLS_MODE.SECURED;
    // A pair of pipes has no socket that could be given to another thread.
    if (client.kind === 'stdio') return TLS_MODE.OFF;
    if (this.tls === TLS_MODE.FORCED && this.plainUnix && client.kind === 'unix') {
      return TLS_MODE.SELECTIVE;
    }
    return this.tls;
  }

  private accessTo(client: ClientIdentity, name: string): Access {
    const own = this.byExport.get(name);
    if (own?.needsTls === true && client.tls === null && client.kind !== 'stdio') {
      return ACCESS.TLS_FIRST;
    }
    const isOwn = own?.allow !== undefined || own?.allowRead !== undefined;
    const { allow, allowRead } = isOwn ? own : this.common;
    if (allow === undefined && allowRead === undefined) return ACCESS.WRITE;
    // Whoever starts the daemon on its own pipes owns it.
    if (client.kind === 'stdio') return ACCESS.WRITE;
    if (allow?.some((rule) => matches(rule, client)) === true) return ACCESS.WRITE;
    if (allowRead?.some((rule) => matches(rule, client)) === true) return ACCESS.READ;
    const rules = [...(allow ?? []), ...(allowRead ?? [])];
    const tlsMayHelp = rules.some(({ kind }) => kind === 'subject' || kind === 'psk');
    const canStart = this.tls !== TLS_MODE.OFF && client.tls === null;
    return tlsMayHelp && canStart ? ACCESS.TLS_FIRST : ACCESS.NONE;
  }
}
