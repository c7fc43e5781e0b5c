import koffi from 'koffi';
import { assert } from '../../core/base/assert.ts';
import { SYS } from './abi.ts';

/**
 * The system calls of the data plane, through koffi. Addresses are plain numbers: user space ends
 * below 2^47. A call costs 60-170 ns on top of the kernel's work. Those made per request are given
 * typed arrays, not addresses: a number that large would be boxed for the call.
 */
const libc = koffi.load(null);

const rawSetup = libc.func('long syscall(long number, uint32_t entries, void *params)');
const rawEnter = libc.func(
  'long syscall(long number, int fd, uint32_t submit, uint32_t wait, uint32_t flags, int64_t arg, size_t size)',
);
const rawMmap = libc.func(
  'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const rawPwritev = libc.func(
  'int64_t pwritev(int fd, const void *iovecs, int count, int64_t offset)',
);
const rawPreadv2 = libc.func(
  'int64_t preadv2(int fd, const void *iovecs, int count, int64_t offset, int flags)',
);
const rawSendmsg = libc.func('int64_t sendmsg(int fd, const void *message, int flags)');
const rawRecvmsg = libc.func('int64_t recvmsg(int fd, void *message, int flags)');
const rawClockGettime = libc.func('int clock_gettime(int clock, void *time)');
const rawSetsockopt = libc.func(
  'int setsockopt(int fd, int level, int option, const void *value, uint32_t length)',
);
const rawEventfd = libc.func('int eventfd(uint32_t initial, int flags)');
const rawClose = libc.func('int close(int fd)');
const rawFcntl = libc.func('int fcntl(int fd, int command, int argument)');
const rawShutdown = libc.func('int shutdown(int fd, int how)');

const rawMapAt = libc.func(
  'int64_t mmap(int64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const rawMincore = libc.func('int mincore(int64_t address, size_t length, void *pages)');
const rawMadvise = libc.func('int madvise(int64_t address, size_t length, int advice)');

const PROT_NONE = 0;
const PROT_READ = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022;
const MAP_SHARED_FIXED = 0x11;
const MAP_PRIVATE_ANONYMOUS_FIXED = 0x32;
const MADV_COLD = 20;
const MADV_POPULATE_READ = 22;
const PAGE_BYTES = 4096;
const EFD_CLOEXEC_NONBLOCK = 0x80800;

/** The result, or minus the errno, as the kernel gives it. */
function result(value: number | bigint): number {
  const number = Number(value);
  return number === -1 ? -koffi.errno() : number;
}

export function ioUringSetup(entries: number, params: Uint8Array): number {
  return result(rawSetup(SYS.io_uring_setup, entries, params) as number);
}

/** `argument`: address of a struct io_uring_getevents_arg, or 0. */
export function ioUringEnter(
  fd: number,
  submit: number,
  wait: number,
  flags: number,
  argument: number,
  argumentBytes: number,
): number {
  const value = rawEnter(
    SYS.io_uring_enter,
    fd,
    submit,
    wait,
    flags,
    argument,
    argumentBytes,
  ) as number;
  return value === -1 ? -koffi.errno() : value;
}

/** Memory outside the V8 heap, page-aligned, at an address that never changes. */
export interface Mapping {
  readonly address: number;
  readonly buffer: ArrayBuffer;
}

export function mapAnonymous(bytes: number): Mapping {
  return map(bytes, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0);
}

export function mapRing(fd: number, bytes: number, offset: number): Mapping {
  return map(bytes, MAP_SHARED_POPULATE, fd, offset);
}

function map(bytes: number, flags: number, fd: number, offset: number): Mapping {
  const pointer: unknown = rawMmap(null, bytes, PROT_READ_WRITE, flags, fd, offset);
  const address = Number(koffi.address(pointer));
  assert(address > 0 && address < Number.MAX_SAFE_INTEGER, 'mmap failed');
  return { address, buffer: koffi.view(pointer, bytes) };
}

/** Room for one page of a file; nothing is there between two calls. */
let pageWindow = -1;
const isCached = new Uint8Array(128);

/**
 * Has the kernel split the folio of the page cache that holds the page at `offset`, if it is in the
 * cache, larger than a page and clean: MADV_COLD on a part of a mapped folio does that. Never reads
 * the disk, and touches nothing: a page that is not there cannot raise a signal.
 */
export function splitCachedFolio(fd: number, offset: number): void {
  if (pageWindow < 0) pageWindow = mapAnonymous(PAGE_BYTES).address;
  const page = offset - (offset % PAGE_BYTES);
  const at = rawMapAt(pageWindow, PAGE_BYTES, PROT_READ, MAP_SHARED_FIXED, fd, page) as number;
  // What became of the room nobody knows: another one next time.
  if (at !== pageWindow) {
    pageWindow = -1;
    return;
  }
  rawMincore(pageWindow, PAGE_BYTES, isCached);
  if (
    ((isCached[0] ?? 0) & 1) !== 0 &&
    rawMadvise(pageWindow, PAGE_BYTES, MADV_POPULATE_READ) === 0
  ) {
    rawMadvise(pageWindow, PAGE_BYTES, MADV_COLD);
  }
  // A mapping left behind would keep the file system from being unmounted.
  rawMapAt(pageWindow, PAGE_BYTES, PROT_NONE, MAP_PRIVATE_ANONYMOUS_FIXED, -1, 0);
}

/** Address of a typed array's memory: stable for arrays that live outside the V8 heap. */
export function addressOfBuffer(bytes: Uint8Array): number {
  return Number(koffi.address(bytes));
}

/** `iovec`: one, in memory of the caller's. Bytes written, or minus the errno. Blocks. */
export function pwriteOne(fd: number, iovec: Uint32Array, offset: number): number {
  const value = rawPwritev(fd, iovec, 1, offset) as number;
  return value === -1 ? -koffi.errno() : value;
}

const RWF_NOWAIT = 8;

/** Bytes read from the page cache, or minus the errno; never waits. */
export function preadNowait(fd: number, iovec: Uint32Array, offset: number): number {
  const value = rawPreadv2(fd, iovec, 1, offset, RWF_NOWAIT) as number;
  return value === -1 ? -koffi.errno() : value;
}

/** `message`: begins with a struct msghdr. Bytes sent, or minus the errno. */
export function sendmsg(fd: number, message: Uint32Array, flags: number): number {
  const value = rawSendmsg(fd, message, flags) as number;
  return value === -1 ? -koffi.errno() : value;
}

export function recvmsg(fd: number, message: Uint32Array, flags: number): number {
  const value = rawRecvmsg(fd, message, flags) as number;
  return value === -1 ? -koffi.errno() : value;
}

/** `time`: room for a struct timespec. */
export function clockGettime(clock: number, time: Uint32Array): void {
  rawClockGettime(clock, time);
}

export function eventfd(): number {
  return result(rawEventfd(0, EFD_CLOEXEC_NONBLOCK) as number);
}

export function dup(fd: number): number {
  return result(rawFcntl(fd, F_DUPFD_CLOEXEC, 0) as number);
}

const F_DUPFD_CLOEXEC = 1030;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0x800;

/** A ring waits by itself, but answers EAGAIN at once on a descriptor that was set not to block. */
export function setBlocking(fd: number): void {
  const flags = rawFcntl(fd, F_GETFL, 0) as number;
  rawFcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;

/** Asks for room for so many bytes on their way; the kernel gives what it allows. */
export function setSendBuffer(fd: number, bytes: number): void {
  rawSetsockopt(fd, SOL_SOCKET, SO_SNDBUF, Int32Array.of(bytes), 4);
}

export function close(fd: number): number {
  return result(rawClose(fd) as number);
}

export function shutdown(fd: number, how: number): number {
  return result(rawShutdown(fd, how) as number);
}
