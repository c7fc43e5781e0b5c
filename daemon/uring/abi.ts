/**
 * io_uring's ABI (linux/io_uring.h) as tables of numbers: word offsets, opcodes, flags. Nothing here
 * is a koffi struct: entries are written straight into the mapped rings.
 */
export const SYS = { io_uring_setup: 425, io_uring_enter: 426, io_uring_register: 427 } as const;

export const OP = {
  NOP: 0,
  READV: 1,
  WRITEV: 2,
  FSYNC: 3,
  READ_FIXED: 4,
  WRITE_FIXED: 5,
  POLL_ADD: 6,
  SENDMSG: 9,
  RECVMSG: 10,
  TIMEOUT: 11,
  ACCEPT: 13,
  ASYNC_CANCEL: 14,
  FALLOCATE: 17,
  CLOSE: 19,
  READ: 22,
  WRITE: 23,
  SEND: 26,
  RECV: 27,
  /** The same with IORING_RECVSEND_POLL_FIRST: it waits before it looks. Kernel 5.19. */
  RECV_LATER: 27 | (1 << 16),
  SHUTDOWN: 34,
} as const;
export type Opcode = (typeof OP)[keyof typeof OP];

export const SETUP = {
  CQSIZE: 1 << 3,
  CLAMP: 1 << 4,
  SUBMIT_ALL: 1 << 7,
  COOP_TASKRUN: 1 << 8,
  TASKRUN_FLAG: 1 << 9,
  SINGLE_ISSUER: 1 << 12,
  DEFER_TASKRUN: 1 << 13,
} as const;

export const ENTER = { GETEVENTS: 1 << 0, EXT_ARG: 1 << 3 } as const;

/** In the submission queue's flags word: work waits until the ring is entered. */
export const SQ_TASKRUN = 1 << 2;

export const FEATURE = {
  SINGLE_MMAP: 1 << 0,
  NODROP: 1 << 1,
  FAST_POLL: 1 << 5,
  EXT_ARG: 1 << 8,
} as const;

/** File offsets at which a ring's parts are mapped. */
export const MMAP_OFFSET = { SQ_RING: 0, SQES: 0x10000000 } as const;

/** struct io_uring_params: byte offsets. */
export const PARAMS = {
  BYTES: 120,
  sqEntries: 0,
  cqEntries: 4,
  flags: 8,
  features: 20,
  sqHead: 40,
  sqTail: 44,
  sqRingMask: 48,
  sqRingEntries: 52,
  sqFlags: 56,
  sqDropped: 60,
  sqArray: 64,
  cqHead: 80,
  cqTail: 84,
  cqRingMask: 88,
  cqRingEntries: 92,
  cqOverflow: 96,
  cqCqes: 100,
} as const;

/** struct io_uring_sqe: 16 words of 32 bits. */
export const SQE = {
  WORDS: 16,
  /** opcode | flags << 8 | ioprio << 16 */
  head: 0,
  fd: 1,
  offsetLow: 2,
  offsetHigh: 3,
  addressLow: 4,
  addressHigh: 5,
  length: 6,
  opFlags: 7,
  userLow: 8,
  userHigh: 9,
  bufIndex: 10,
  fileIndex: 11,
} as const;

/** struct io_uring_cqe: 4 words. */
export const CQE = { WORDS: 4, userLow: 0, userHigh: 1, result: 2, flags: 3 } as const;

export const FSYNC_DATASYNC = 1;
export const RWF_DSYNC = 2;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_WAITALL = 0x100;
export const MSG_DONTWAIT = 0x40;
