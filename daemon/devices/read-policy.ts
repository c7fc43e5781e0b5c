import type { ReadPolicy } from '../../core/mirror/options.ts';

export const DEFAULT_READ_POLICY = 'least-pending';

/** What `parseReadPolicy` accepts, for error messages. */
export const READ_POLICY_FORMAT = 'least-pending, round-robin or prefer=N (leg number N)';

/** Undefined when the text is no policy; that leg N exists is for the caller to check. */
export function parseReadPolicy(text: string): ReadPolicy | undefined {
  if (text === 'least-pending' || text === 'round-robin') return { kind: text };
  const match = /^prefer=(\d{1,2})$/.exec(text);
  return match === null ? undefined : { kind: 'prefer', leg: Number(match[1]) };
}
