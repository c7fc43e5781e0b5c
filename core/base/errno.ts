/**
 * Error numbers of the data path. There an error is a number and 0 is success; nothing throws.
 * The numbers are Linux's (asm-generic/errno*.h), so that an engine may hand them on as they come.
 */
export const ERRNO = {
  OK: 0,
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EPIPE: 32,
  EDEADLK: 35,
  ENOSYS: 38,
  ENODATA: 61,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  ENOTCONN: 107,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EDQUOT: 122,
} as const;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(ERRNO).map(([name, number]) => [number, name]),
);

/** `5` -> `EIO`; a number the table lacks -> `errno 77`. For people; never on the hot path. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${String(errno)}`;
}
