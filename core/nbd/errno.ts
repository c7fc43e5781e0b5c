import { ERRNO } from '../base/errno.ts';
import { COMMAND, COMMAND_FLAG, NBD_ERROR, type NbdError } from './proto.ts';

/**
 * The only place where an errno becomes an NBD error ("Error values"). Two of them a client may see
 * only when it asked for the feature they belong to, so the answer depends on the request.
 */
export function nbdErrorOf(errno: number, type: number, flags: number): NbdError {
  switch (errno) {
    case ERRNO.OK:
      return NBD_ERROR.OK;
    case ERRNO.EPERM:
    case ERRNO.EACCES:
    case ERRNO.EROFS:
      return NBD_ERROR.EPERM;
    case ERRNO.ENOMEM:
      return NBD_ERROR.ENOMEM;
    case ERRNO.EINVAL:
      return NBD_ERROR.EINVAL;
    case ERRNO.ENOSPC:
    case ERRNO.EDQUOT:
    case ERRNO.EFBIG:
      return NBD_ERROR.ENOSPC;
    case ERRNO.ESHUTDOWN:
      return NBD_ERROR.ESHUTDOWN;
    case ERRNO.EOVERFLOW:
      // "NBD_EOVERFLOW": SHOULD only be sent for a READ with DF.
      return type === COMMAND.READ && (flags & COMMAND_FLAG.DF) !== 0
        ? NBD_ERROR.EOVERFLOW
        : NBD_ERROR.EINVAL;
    case ERRNO.EOPNOTSUPP:
      // "NBD_ENOTSUP": for WRITE_ZEROES with FAST_ZERO; without the flag it MUST NOT be sent.
      return type === COMMAND.WRITE_ZEROES && (flags & COMMAND_FLAG.FAST_ZERO) !== 0
        ? NBD_ERROR.ENOTSUP
        : NBD_ERROR.EINVAL;
    default:
      // What a client cannot do anything about is an I/O error to it.
      return NBD_ERROR.EIO;
  }
}
