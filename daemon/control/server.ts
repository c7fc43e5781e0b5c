/** The control socket: JSON lines in, JSON lines out (core/control/messages.ts). */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { setMaxListeners } from 'node:events';
import { createServer, connect } from 'node:net';
import type { Server, Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Log } from '../../core/base/ports.ts';
import { ControlError } from '../../core/control/error.ts';
import { idOfLine, MAX_REQUEST_BYTES, parseRequest } from '../../core/control/messages.ts';
import type { Request } from '../../core/control/messages.ts';
import { encodeLine, replyErrorOf } from '../../core/control/reply.ts';
import type { Reply } from '../../core/control/reply.ts';
import { socketPathError } from '../listen.ts';
import { makeFolder } from '../make-folder.ts';
import { codeOf, reasonOf } from '../system-error.ts';

/** Root and its group may speak to the daemon. */
const SOCKET_MODE = 0o660;
const MAX_CONNECTIONS = 64;
/** Requests of one client under way at once; `wait` may keep some for long. */
const MAX_REQUESTS_EACH = 32;

/** Answers a request: a result, or a rejection with a ControlError. `signal`: the client has gone. */
export type Handler = (request: Request, signal: AbortSignal) => Promise<unknown>;

export class ControlServer {
  private readonly server: Server;
  private readonly path: string;
  private readonly log: Log;
  private readonly handle: Handler;
  private readonly sockets = new Set<Socket>();

  private constructor(path: string, log: Log, handle: Handler) {
    this.path = path;
    this.log = log;
    this.handle = handle;
    this.server = createServer((socket) => this.serve(socket));
    this.server.maxConnections = MAX_CONNECTIONS;
  }

  /**
   * A socket on which a daemon answers is refused, one that a dead daemon left is replaced.
   * @throws ControlError address-in-use, io
   */
  static async listen(path: string, log: Log, handle: Handler): Promise<ControlServer> {
    const problem = socketPathError(path);
    if (problem !== undefined) {
      throw new ControlError('io', `control socket ${path}: ${problem}`);
    }
    await clearStaleSocket(path, 'control socket');
    const control = new ControlServer(path, log, handle);
    await new Promise<void>((ready, failed) => {
      control.server.once('error', (error) => {
        failed(new ControlError('io', `control socket ${path}: ${reasonOf(error)}`));
      });
      control.server.listen(path, ready);
    });
    chmodSync(path, SOCKET_MODE);
    return control;
  }

  /** No new clients; those connected are let go when their last reply is out. Removes the socket. */
  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroySoon();
  }

  private serve(socket: Socket): void {
    const gone = new AbortController();
    setMaxListeners(MAX_REQUESTS_EACH, gone.signal);
    let underWay = 0;
    const send = (reply: Reply): void => {
      if (!socket.destroyed) socket.write(encodeLine(reply));
    };
    const lines = new LineReader(MAX_REQUEST_BYTES, (line) => {
      if (underWay >= MAX_REQUESTS_EACH) {
        const error = new ControlError('busy', `over ${MAX_REQUESTS_EACH} requests at once`);
        send({ id: idOfLine(line), error: replyErrorOf(error) });
        return;
      }
      underWay += 1;
      void this.answer(line, gone.signal).then((reply) => {
        underWay -= 1;
        send(reply);
      });
    });
    this.sockets.add(socket);
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      if (lines.push(text)) return;
      const error = new ControlError('bad-request', `a line over ${MAX_REQUEST_BYTES} bytes`);
      send({ id: null, error: replyErrorOf(error) });
      socket.destroySoon();
    });
    // A client that went away is no news.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.sockets.delete(socket);
      gone.abort();
    });
  }

  private async answer(line: string, signal: AbortSignal): Promise<Reply> {
    try {
      const request = parseRequest(line);
      const result = await this.handle(request, signal);
      return { id: request.id, result };
    } catch (error) {
      return { id: idOfLine(line), error: replyErrorOf(this.controlErrorOf(error)) };
    }
  }

  private controlErrorOf(error: unknown): ControlError {
    if (error instanceof ControlError) return error;
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.log.error({ socket: this.path, stack }, 'a control command failed unexpectedly');
    return new ControlError('internal', `internal error: ${reasonOf(error)}; see the daemon's log`);
  }
}

/** Cuts a stream of text into lines, none of them longer than the limit. */
class LineReader {
  private readonly maxLength: number;
  private readonly take: (line: string) => void;
  private rest = '';
  private broken = false;

  constructor(maxLength: number, take: (line: string) => void) {
    this.maxLength = maxLength;
    this.take = take;
  }

  /** False, from then on, when a line was too long. */
  push(text: string): boolean {
    if (this.broken) return false;
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.length > this.maxLength) this.broken = true;
      else if (line.trim() !== '') this.take(line);
    }
    if (this.rest.length > this.maxLength) this.broken = true;
    return !this.broken;
  }
}

/**
 * Makes room for a socket at `path`: its folder, and away with what a dead daemon left there.
 * @throws ControlError address-in-use: somebody answers; io: something that is no socket is in the way
 */
export async function clearStaleSocket(path: string, what: string): Promise<void> {
  try {
    makeFolder(dirname(path));
  } catch (error) {
    throw new ControlError('io', `${what} ${path}: ${reasonOf(error)}`);
  }
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new ControlError('io', `${what} ${path}: a file that is no socket is in the way`);
  }
  if (await answers(path)) {
    throw new ControlError('address-in-use', `${what} ${path}: a live daemon is listening there`);
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') {
      throw new ControlError('io', `${what} ${path}: ${reasonOf(error)}`);
    }
  }
}

/** Only a refused connection proves that nobody is there. */
function answers(path: string): Promise<boolean> {
  return new Promise((tell) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      tell(true);
    });
    probe.once('error', (error) => tell(codeOf(error) !== 'ECONNREFUSED'));
  });
}
