import { errorCodeOf } from '../sys/node-errors.ts';

/** Why a file cannot be a device. */
export type OpenErrorCode =
  | 'missing'
  | 'directory'
  /** A FIFO, a socket, a character device. */
  | 'not-a-device'
  | 'permission'
  | 'read-only'
  /** Somebody else has it open or mounted. */
  | 'busy'
  /** Two paths, one file. */
  | 'same-file'
  | 'empty'
  /** Not a whole number of sectors, or more than the file system can hold. */
  | 'size'
  | 'no-space'
  /** The file system has no O_DIRECT. */
  | 'no-direct'
  /** It is there, and answers with I/O errors. */
  | 'broken'
  /** A metadata file that is not the leg's. */
  | 'foreign'
  /** The words of a leg's URI. */
  | 'uri'
  | 'failed';

/** One sentence for the user, with the path in it, and a code for the program. */
export class OpenError extends Error {
  override readonly name = 'OpenError';
  readonly code: OpenErrorCode;

  constructor(code: OpenErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

const SENTENCES: Readonly<Record<string, readonly [OpenErrorCode, string]>> = {
  ENOENT: ['missing', 'does not exist'],
  ENOTDIR: ['missing', 'does not exist: a part of its path is not a directory'],
  EISDIR: ['directory', 'is a directory, a file or a block device is wanted'],
  EACCES: ['permission', 'may not be opened: permission denied'],
  EPERM: ['permission', 'may not be opened: the operation is not permitted'],
  EROFS: ['read-only', 'is on a read-only file system'],
  EBUSY: ['busy', 'is in use by the system, as a mounted file system for example'],
  ETXTBSY: ['busy', 'is in use as a running program'],
  EEXIST: ['failed', 'is a symbolic link to nothing, or was made by somebody else just now'],
  ENOSPC: ['no-space', 'cannot be made: no space left on the file system'],
  EDQUOT: ['no-space', 'cannot be made: the disk quota is used up'],
  EFBIG: ['size', 'cannot be made that large on its file system'],
  EIO: ['broken', 'answers with an I/O error'],
  EREMOTEIO: ['broken', 'answers with an I/O error'],
  ETIMEDOUT: ['broken', 'does not answer in time'],
  ENOMEDIUM: ['not-a-device', 'has no medium in it'],
  ENXIO: ['not-a-device', 'has no device behind it'],
  ENODEV: ['not-a-device', 'has no device behind it'],
};

/** Node's error -> an OpenError about `path`; an OpenError stays what it is. */
export function openErrorOf(path: string, error: unknown): OpenError {
  if (error instanceof OpenError) return error;
  const known = SENTENCES[errorCodeOf(error) ?? ''];
  if (known !== undefined) return new OpenError(known[0], `${path} ${known[1]}`);
  const reason = error instanceof Error ? error.message : String(error);
  return new OpenError('failed', `${path} cannot be opened: ${reason}`);
}
