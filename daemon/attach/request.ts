/** What an attach asks for, and what is allowed. */
import { ControlError } from '../../core/control/error.ts';
import { nbdIndexOf } from './nbd-block.ts';

/** A request that has no reply for so long is sent again; so long I/O may pause after a crash. */
export const TIMEOUT_SECONDS = 10;
/** So long I/O waits for a daemon that is away; then it fails. */
export const DEAD_SECONDS = 300;
const MAX_SECONDS = 86_400;
const MAX_CONNECTIONS = 16;

export interface AttachRequest {
  readonly name: string;
  readonly device?: string | undefined;
  readonly connections: number;
  readonly timeoutSeconds?: number | undefined;
  readonly deadSeconds?: number | undefined;
}

/** @throws ControlError bad-argument */
export function wantedIndex(device: string | undefined): number | undefined {
  if (device === undefined) return undefined;
  const index = nbdIndexOf(device);
  if (index !== undefined) return index;
  throw new ControlError('bad-argument', `${device}: expected /dev/nbdN`);
}

/** @throws ControlError bad-argument */
export function checkNumbers({ connections, timeoutSeconds, deadSeconds }: AttachRequest): void {
  if (connections < 1 || connections > MAX_CONNECTIONS) {
    throw new ControlError('bad-argument', `connections ${connections}: 1 to ${MAX_CONNECTIONS}`);
  }
  for (const seconds of [timeoutSeconds, deadSeconds]) {
    if (seconds === undefined || (seconds >= 1 && seconds <= MAX_SECONDS)) continue;
    throw new ControlError('bad-argument', `time-out ${seconds}: 1 to ${MAX_SECONDS} seconds`);
  }
}
