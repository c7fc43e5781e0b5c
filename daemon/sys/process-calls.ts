import { createRequire } from 'node:module';

/**
 * System calls about this process and its kernel that Node lacks, through koffi: descriptors,
 * exec, datagrams. Each answers with its result, or with minus the errno.
 */
export interface ProcessCalls {
  /** prctl(2) with one argument. */
  prctl(option: number, argument: number): number;
  /** fcntl(2) F_SETFD 0: the descriptor lives on after exec. */
  keepOverExec(fd: number): number;
  /** execv(3): returns only if it failed. */
  execv(path: string, argv: readonly string[]): number;
  socket(domain: number, type: number, protocol: number): number;
  /** A pair of connected unix stream sockets, into `pair`. */
  socketPair(pair: Int32Array): number;
  /** `address`: a sockaddr, or null for a connected or a netlink socket. */
  sendTo(fd: number, message: Uint8Array, address: Uint8Array | null): number;
  /** Without waiting: -EAGAIN when nothing is there. */
  receive(fd: number, message: Uint8Array): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
}

export const AF = { UNIX: 1, NETLINK: 16 } as const;
export const SOCK = { STREAM: 1, DGRAM: 2, RAW: 3, CLOEXEC: 0o2000000 } as const;
export const SHUT = { RD: 0, WR: 1 } as const;
export const PR_SET_IO_FLUSHER = 57;
export const PR_GET_IO_FLUSHER = 58;

const F_SETFD = 2;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

/** The part of koffi that is used here, stated so that no `any` gets in. */
interface Koffi {
  load(path: null): { func(prototype: string): (...args: readonly unknown[]) => unknown };
  errno(): number;
}

let loaded: ProcessCalls | string | undefined;

/** The calls, or why there are none, as the end of a sentence. Tried once a process. */
export function processCalls(): ProcessCalls | string {
  loaded ??= bind();
  return loaded;
}

function bind(): ProcessCalls | string {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const library = koffi.load(null);
    const native = (prototype: string): ((...args: readonly unknown[]) => number) => {
      const call = library.func(prototype);
      return (...args) => {
        const result = Number(call(...args));
        return result === -1 ? -koffi.errno() : result;
      };
    };
    const prctl = native('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
    const fcntl = native('int fcntl(int fd, int command, int argument)');
    const execv = native('int execv(const char *path, const char **argv)');
    const socketPair = native('int socketpair(int domain, int type, int protocol, void *pair)');
    const sendTo = native(
      'int64_t sendto(int fd, void *data, size_t size, int flags, void *address, uint32_t length)',
    );
    const receive = native('int64_t recv(int fd, void *data, size_t size, int flags)');
    return {
      prctl: (option, argument) => prctl(option, argument, 0, 0, 0),
      keepOverExec: (fd) => fcntl(fd, F_SETFD, 0),
      execv: (path, argv) => execv(path, [...argv, null]),
      socket: native('int socket(int domain, int type, int protocol)'),
      socketPair: (pair) => socketPair(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC, 0, pair),
      sendTo: (fd, message, address) =>
        sendTo(fd, message, message.length, MSG_NOSIGNAL, address, address?.length ?? 0),
      receive: (fd, message) => receive(fd, message, message.length, MSG_DONTWAIT),
      shutdown: native('int shutdown(int fd, int how)'),
      close: native('int close(int fd)'),
    };
  } catch (error) {
    return String(error).replace(/\n[^]*/, '');
  }
}

/** sockaddr_un of a path; `@name` is in the abstract name space, as systemd writes it. */
export function unixAddress(path: string): Uint8Array {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  const address = new Uint8Array(2 + name.length);
  new Uint16Array(address.buffer, 0, 1)[0] = AF.UNIX;
  address.set(name, 2);
  return address;
}
