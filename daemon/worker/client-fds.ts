import type { ClientFds } from '../net/socket-taker.ts';
import { close } from '../uring/syscall.ts';

/** Hangs up on a client nobody serves. */
export function closeClient({ input, output }: ClientFds): void {
  close(input);
  if (output !== input) close(output);
}
