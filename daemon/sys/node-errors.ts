import { ERRNO } from '../../core/base/errno.ts';

/**
 * What Node says when a system call has failed. By its fields and not by `instanceof`: under jest
 * the errors of Node's own modules are of another realm.
 */
interface NodeError {
  /** The errno, negative. */
  readonly errno?: unknown;
  /** Its name, as `ENOENT`. */
  readonly code?: unknown;
}

/** Node's error -> the errno it stands for; EIO when it has none. */
export function errnoOf(error: unknown): number {
  const errno = fieldsOf(error).errno;
  return typeof errno === 'number' && errno < 0 ? -errno : ERRNO.EIO;
}

/** Node's error -> the name of its errno, if it has one. */
export function errorCodeOf(error: unknown): string | undefined {
  const code = fieldsOf(error).code;
  return typeof code === 'string' ? code : undefined;
}

function fieldsOf(error: unknown): NodeError {
  return typeof error === 'object' && error !== null ? error : {};
}
