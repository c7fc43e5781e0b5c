/** What Node throws when a system call fails, in the words of errno(3) instead of its own. */
import { ERRNO } from '../core/base/errno.ts';
import { ControlError } from '../core/control/error.ts';

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'address already in use',
  EADDRNOTAVAIL: 'no such address on this machine',
  EAGAIN: 'temporarily unavailable',
  EBUSY: 'device or resource busy',
  EEXIST: 'it exists already',
  EFBIG: 'file too large',
  EINVAL: 'invalid argument',
  EIO: 'input/output error',
  EISDIR: 'is a directory',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'name too long',
  ENODEV: 'no such device',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'not a directory',
  ENOTFOUND: 'host not found',
  ENXIO: 'no such device or address',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
};

/** Told by its shape: a system error may come from another realm (Jest has one), where `instanceof` is false. */
function fieldOf(error: unknown, field: 'code' | 'errno' | 'message'): unknown {
  return typeof error === 'object' && error !== null && field in error
    ? (error as Record<string, unknown>)[field]
    : undefined;
}

/** `ENOENT`, or undefined for anything but a failed system call. */
export function codeOf(error: unknown): string | undefined {
  const code = fieldOf(error, 'code');
  return typeof code === 'string' ? code : undefined;
}

/** The errno of a failed system call; EIO when it has none. Node gives it as a negative number. */
export function errnoOf(error: unknown): number {
  const errno = fieldOf(error, 'errno');
  return typeof errno === 'number' ? Math.abs(errno) : ERRNO.EIO;
}

/** One clause for a message: `no such file or directory`. */
export function reasonOf(error: unknown): string {
  if (error instanceof ControlError) return error.message;
  const code = codeOf(error);
  if (code !== undefined) return WORDS[code] ?? code;
  const message = fieldOf(error, 'message');
  return typeof message === 'string' ? message : String(error);
}
