import { createRequire } from 'node:module';
import { ERRNO } from '../../core/base/errno.ts';

/**
 * The few system calls that Node lacks, through koffi. Each answers with an errno, 0 for success.
 * This file and daemon/uring are the only ones that know koffi.
 */
export interface Syscalls {
  /** flock(2): `operation` of LOCK. */
  flock(fd: number, operation: number): number;
  /** fallocate(2): `mode` of FALLOC; blocks the thread. */
  fallocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number): number;
  /** The same on a thread of the pool; `done` is called later, once. */
  fallocateAsync(
    fd: number,
    mode: number,
    offsetBytes: number,
    lengthBytes: number,
    done: (errno: number) => void,
  ): void;
  /** dup(2): the new descriptor, or minus the errno. */
  dup(fd: number): number;
}

/** `LOCK_*` of fcntl.h */
export const LOCK = { EX: 2, NB: 4, UN: 8 } as const;

/** `FALLOC_FL_*` of falloc.h; ALLOCATE is the absence of all. */
export const FALLOC = { ALLOCATE: 0, KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 16 } as const;

/** Why the calls are not there, as the end of a sentence. */
export interface NoSyscalls {
  readonly reason: string;
}

/** The part of koffi that is used here, stated so that no `any` gets in. */
interface Koffi {
  load(path: null): { func(prototype: string): NativeFunction };
  errno(): number;
}

interface NativeFunction {
  (...args: readonly number[]): number;
  async(...args: readonly (number | AsyncDone)[]): void;
}

type AsyncDone = (error: Error | null, result: number) => void;

let loaded: Syscalls | NoSyscalls | undefined;

/** The system calls, or why there are none. Tried once a process. */
export function loadSyscalls(): Syscalls | NoSyscalls {
  loaded ??= bind();
  return loaded;
}

export function hasSyscalls(calls: Syscalls | NoSyscalls): calls is Syscalls {
  return !('reason' in calls);
}

/** Prototypes name no types of their own: koffi keeps names for the whole process, also in jest. */
function bind(): Syscalls | NoSyscalls {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    // null: this very process, whose C library has them.
    const library = koffi.load(null);
    const flock = library.func('int flock(int fd, int operation)');
    const fallocate = library.func(
      'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
    );
    const dup = library.func('int dup(int fd)');
    return {
      dup: (fd) => {
        const result = dup(fd);
        return result >= 0 ? result : -koffi.errno();
      },
      flock: (fd, operation) => (flock(fd, operation) === 0 ? 0 : koffi.errno()),
      fallocate: (...args) => (fallocate(...args) === 0 ? 0 : koffi.errno()),
      // koffi brings the thread's errno along to the callback.
      fallocateAsync: (fd, mode, offsetBytes, lengthBytes, done) =>
        fallocate.async(fd, mode, offsetBytes, lengthBytes, (error, result) => {
          // An error here is koffi's own: no thread could be had for the call.
          if (error !== null) done(ERRNO.EAGAIN);
          else done(result === 0 ? 0 : koffi.errno());
        }),
    };
  } catch (error) {
    return { reason: String(error).replace(/\n[^]*/, '') };
  }
}
