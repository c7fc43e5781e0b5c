import type { Check } from './check.ts';
import { Breach, hangUpAll, NotOffered, parseUri, type Place } from './client.ts';
import { DEADLY_CHECKS, EDGE_CHECKS } from './edge-checks.ts';
import { EXTENDED_CHECKS } from './extended-checks.ts';
import { HANDSHAKE_CHECKS } from './handshake-checks.ts';
import { OPTION_CHECKS } from './option-checks.ts';
import { TRANSMISSION_CHECKS } from './transmission-checks.ts';

export const CHECKS: readonly Check[] = [
  ...HANDSHAKE_CHECKS,
  ...OPTION_CHECKS,
  ...TRANSMISSION_CHECKS,
  ...EDGE_CHECKS,
  ...EXTENDED_CHECKS,
  ...DEADLY_CHECKS,
];

export interface Verdict {
  readonly check: Check;
  readonly result: 'yes' | 'no' | 'not offered';
  readonly why: string;
}

/**
 * Every check against one server, one after the other, each on connections of its own. A server that the
 * check before has ended (nbdkit 1.32 does not survive one) is started again by `revive`, if there is one.
 */
export async function runChecks(
  uri: string,
  revive?: () => Promise<void>,
): Promise<readonly Verdict[]> {
  const place = parseUri(uri);
  const verdicts: Verdict[] = [];
  for (const check of CHECKS) {
    try {
      verdicts.push(await judge(check, place));
    } catch (error) {
      if (revive === undefined) throw error;
      await revive();
      verdicts.push(await judge(check, place));
    }
  }
  return verdicts;
}

export async function judge(check: Check, place: Place): Promise<Verdict> {
  try {
    await check.run(place);
    return { check, result: 'yes', why: '' };
  } catch (error) {
    const why = error instanceof Error ? error.message : '';
    if (error instanceof NotOffered) return { check, result: 'not offered', why };
    if (error instanceof Breach) return { check, result: 'no', why };
    throw error;
  } finally {
    hangUpAll();
  }
}

/** One column a server, as Markdown. */
export function tableOf(columns: ReadonlyMap<string, readonly Verdict[]>): string {
  const servers = [...columns.keys()];
  const lines = [
    `| proto.md | | a server | ${servers.join(' | ')} |`,
    `|---|---|---|${'---|'.repeat(servers.length)}`,
  ];
  for (const [i, { level, section, text }] of CHECKS.entries()) {
    const cells = servers.map((server) => cellOf(columns.get(server)?.[i]));
    lines.push(`| ${section} | ${level} | ${text} | ${cells.join(' | ')} |`);
  }
  const counts = servers.map((server) => {
    const all = columns.get(server) ?? [];
    return `${all.filter(({ result }) => result === 'yes').length} of ${all.filter(({ result }) => result !== 'not offered').length}`;
  });
  lines.push(`| | | of what it offers | ${counts.join(' | ')} |`);
  return lines.join('\n');
}

function cellOf(verdict: Verdict | undefined): string {
  if (verdict === undefined) return '';
  return verdict.result === 'no' ? `NO: ${verdict.why}` : verdict.result === 'yes' ? 'yes' : '-';
}
