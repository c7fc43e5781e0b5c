import { ERRNO } from '../base/errno.ts';
import { NBD_ERROR } from '../nbd/proto.ts';

/** A server's error as an errno of ours; what proto.md does not know is an I/O error. */
export function errnoOfNbd(error: number): number {
  switch (error) {
    case NBD_ERROR.OK:
    case NBD_ERROR.EPERM:
    case NBD_ERROR.EIO:
    case NBD_ERROR.ENOMEM:
    case NBD_ERROR.EINVAL:
    case NBD_ERROR.ENOSPC:
    case NBD_ERROR.EOVERFLOW:
    case NBD_ERROR.ESHUTDOWN:
      return error;
    case NBD_ERROR.ENOTSUP:
      return ERRNO.EOPNOTSUPP;
    default:
      return ERRNO.EIO;
  }
}
