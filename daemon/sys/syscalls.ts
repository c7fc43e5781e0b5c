import { constants } from 'node:fs';
import { createRequire } from 'node:module';
import { ERRNO } from '../../core/base/errno.ts';

/**
 * The few system calls that Node lacks, through koffi. Each answers with an errno, 0 for success.
 * This file and daemon/uring are the only ones that know koffi.
 */
export interface Syscalls {
  /** flock(2): `operation` of LOCK. */
  flock(fd: number, operation: number): number;
  /** Sets O_DIRECT on an open descriptor. EINVAL: its file system has none. */
  setDirect(fd: number): number;
  /** Zeroed memory that begins at a page; never given back. */
  readonly pages: (lengthBytes: number) => Uint8Array;
  /** Where the bytes are, as an offset into their page. */
  readonly offsetInPage: (bytes: Uint8Array) => number;
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
  /** lseek(2): the offset, or minus the errno. `whence` of SEEK. */
  lseek(fd: number, offsetBytes: number, whence: number): number;
  /** getsockopt(SO_PEERCRED) of a unix socket; undefined: it is none. */
  peerCredentials(fd: number): PeerCredentials | undefined;
  /** The other end's descriptor and ours, of a connected pair of unix sockets; undefined: none left. */
  socketPair(): readonly [number, number] | undefined;
  /** dup(2), close-on-exec: the descriptor, or minus the errno. */
  dup(fd: number): number;
  close(fd: number): void;
}

/** Who was at the other end of a unix socket when it was connected. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** `SEEK_*` of unistd.h */
export const SEEK = { END: 2, DATA: 3, HOLE: 4 } as const;
const F_GETFL = 3;
const F_SETFL = 4;
/** PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE of mman.h */
const READ_WRITE = 3;
const PRIVATE_ANONYMOUS = 0x4022;

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
  view(pointer: unknown, lengthBytes: number): ArrayBuffer;
  address(bytes: Uint8Array): bigint;
}

interface NativeFunction {
  (...args: readonly (number | Int32Array)[]): number;
  async(...args: readonly (number | AsyncDone)[]): void;
}

type AsyncDone = (error: Error | null, result: number) => void;

const PAGE_BYTES = 4096n;

let loaded: Syscalls | NoSyscalls | undefined;

/** The system calls, or why there are none. Tried once a process. */
export function loadSyscalls(): Syscalls | NoSyscalls {
  loaded ??= bind();
  return loaded;
}

export function hasSyscalls(calls: Syscalls | NoSyscalls): calls is Syscalls {
  return !('reason' in calls);
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 0x80001;
const F_DUPFD_CLOEXEC = 1030;

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
    const lseek = library.func('int64_t lseek(int fd, int64_t offset, int whence)');
    const getsockopt = library.func(
      'int getsockopt(int fd, int level, int name, int32_t *value, int32_t *length)',
    );
    const socketpair = library.func(
      'int socketpair(int domain, int type, int protocol, int32_t *fds)',
    );
    const fcntl = library.func('int fcntl(int fd, int command, int argument)');
    const close = library.func('int close(int fd)');
    const mmap = library.func(
      'void *mmap(int64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
    );
    return {
      lseek: (fd, offset, whence) => {
        const at = lseek(fd, offset, whence);
        return at < 0 ? -koffi.errno() : at;
      },
      peerCredentials: (fd) => {
        const value = new Int32Array(3);
        const length = Int32Array.of(value.byteLength);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0) return undefined;
        const [pid = 0, uid = -1, gid = -1] = value;
        // A TCP socket answers too, with nobody.
        return pid === 0 ? undefined : { pid, uid: uid >>> 0, gid: gid >>> 0 };
      },
      socketPair: () => {
        const fds = new Int32Array(2);
        if (socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds) !== 0) return undefined;
        const [one = -1, other = -1] = fds;
        return [one, other];
      },
      dup: (fd) => {
        const copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        return copy < 0 ? -koffi.errno() : copy;
      },
      close: (fd) => void close(fd),
      setDirect: (fd) => {
        const flags = fcntl(fd, F_GETFL, 0);
        const failed = flags < 0 || fcntl(fd, F_SETFL, flags | constants.O_DIRECT) !== 0;
        return failed ? koffi.errno() : 0;
      },
      pages: (lengthBytes) => {
        const pointer: unknown = mmap(0, lengthBytes, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
        return new Uint8Array(koffi.view(pointer, lengthBytes));
      },
      offsetInPage: (bytes) => Number(koffi.address(bytes) % PAGE_BYTES),
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
