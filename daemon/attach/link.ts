/** Connections for the kernel's nbd client that need no listener: a pair of sockets each. */
import { Socket } from 'node:net';
import { CLIENT_FLAG, OPTION, OPTION_MAGIC } from '../../core/nbd/proto.ts';
import { fdsOf } from '../net/socket-taker.ts';
import { processCalls } from '../sys/process-calls.ts';

/** Longest handshake with ourselves; the loop may be busy. */
const HANDSHAKE_LIMIT_MS = 10_000;
/** NBDMAGIC, IHAVEOPT, handshake flags. */
const GREETING_BYTES = 18;
/** The answer to EXPORT_NAME without the zeroes: size, transmission flags. */
const EXPORT_BYTES = 10;

/** A connection in transmission, still in our hands. */
export interface Link {
  /** What the kernel is given. */
  readonly fd: number;
  readonly sizeBytes: number;
  /** Lets go of our copy; what the kernel has taken lives on. */
  release(): void;
}

/**
 * Opens a connection to this daemon itself. `serve` gets the server's end.
 * Null: the export is not there, or no sockets can be had.
 */
export async function openLink(
  exportName: string,
  serve: (socket: Socket) => void,
): Promise<Link | null> {
  const calls = processCalls();
  if (typeof calls === 'string') return null;
  const pair = new Int32Array(2);
  if (calls.socketPair(pair) !== 0) return null;
  const [theirs = -1, ours = -1] = pair;
  const socket = new Socket({ fd: ours, readable: true, writable: true });
  const sizeBytes = handshake(socket, exportName);
  serve(new Socket({ fd: theirs, readable: true, writable: true, allowHalfOpen: true }));
  const found = await sizeBytes;
  const fd = fdsOf(socket, socket)?.input;
  if (found === null || fd === undefined) {
    socket.destroy();
    return null;
  }
  return { fd, sizeBytes: found, release: () => socket.destroy() };
}

/** The size of the export; null: refused, or too late. */
function handshake(socket: Socket, exportName: string): Promise<number | null> {
  return new Promise((answer) => {
    const timer = setTimeout(() => done(null), HANDSHAKE_LIMIT_MS);
    let got = Buffer.alloc(0);
    let asked = false;
    const done = (sizeBytes: number | null): void => {
      clearTimeout(timer);
      // From here on every byte is the kernel's.
      socket.pause();
      socket.removeAllListeners('data');
      answer(sizeBytes);
    };
    socket.on('error', () => done(null));
    socket.on('close', () => done(null));
    socket.on('data', (bytes: Buffer) => {
      got = Buffer.concat([got, bytes]);
      if (!asked && got.length >= GREETING_BYTES) {
        asked = true;
        got = got.subarray(GREETING_BYTES);
        socket.write(askFor(exportName));
      }
      if (asked && got.length >= EXPORT_BYTES) done(Number(got.readBigUInt64BE(0)));
    });
  });
}

/** Client flags and NBD_OPT_EXPORT_NAME, whose answer has no header. */
function askFor(exportName: string): Buffer {
  const name = Buffer.from(exportName);
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32BE(CLIENT_FLAG.FIXED_NEWSTYLE | CLIENT_FLAG.NO_ZEROES, 0);
  bytes.writeUInt32BE(OPTION_MAGIC.HIGH, 4);
  bytes.writeUInt32BE(OPTION_MAGIC.LOW, 8);
  bytes.writeUInt32BE(OPTION.EXPORT_NAME, 12);
  bytes.writeUInt32BE(name.length, 16);
  return Buffer.concat([bytes, name]);
}
