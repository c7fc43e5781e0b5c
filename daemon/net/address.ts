import { isIPv6 } from 'node:net';

/** Where a server listens. `fd` is a socket that listens already (LISTEN_FDS). */
export type ListenAddress =
  | { readonly kind: 'unix'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | ListenFd;

export interface ListenFd {
  readonly kind: 'fd';
  readonly fd: number;
  /** As systemd calls it (FileDescriptorName=, else its unit). */
  readonly name?: string;
  /** Of TCP, once it is listened on. */
  readonly host?: string;
}

/** A listener that cannot be: one line for the user. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  /** The system's word for it: EADDRINUSE, EACCES, ... */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** IANA's port for NBD; URIs leave it out. */
const DEFAULT_PORT = 10809;

/** doc/uri.md: what a client is given to reach `exportName` ("" is the default export). */
export function uriOf(address: ListenAddress, exportName: string, isSecure = false): string {
  const name = encodeURIComponent(exportName);
  const scheme = isSecure ? 'nbds' : 'nbd';
  switch (address.kind) {
    case 'unix':
      return `${scheme}+unix:///${name}?socket=${encodeURI(address.path).replace(/[?#&]/g, encodeURIComponent)}`;
    case 'tcp':
      return `${scheme}://${hostAndPort(address.host, address.port)}/${name}`;
    case 'fd':
      return `fd:${String(address.fd)}`;
  }
}

/** For messages: `/run/x.sock`, `127.0.0.1:10809`, `[::1]:10809`. */
export function addressText(address: ListenAddress): string {
  switch (address.kind) {
    case 'unix':
      return address.path;
    case 'tcp':
      return `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${String(address.port)}`;
    case 'fd':
      return `${address.name === undefined ? '' : `socket ${address.name}, `}file descriptor ${String(address.fd)}`;
  }
}

function hostAndPort(host: string, port: number): string {
  const bracketed = isIPv6(host) ? `[${host}]` : host;
  return port === DEFAULT_PORT ? bracketed : `${bracketed}:${String(port)}`;
}
