/** One request to the daemon's control socket. */
import { connect } from 'node:net';
import { ControlError } from '../core/control/error.ts';
import type { CommandArgs, CommandName, CommandResults } from '../core/control/messages.ts';
import { encodeLine, errorOfReply, parseReply } from '../core/control/reply.ts';

/** No reply of ours comes near; what does is no dmiod. */
const MAX_REPLY_LENGTH = 64 * 1024 * 1024;

/**
 * Sends a command and waits for its reply.
 * @throws ControlError the daemon's, or `unreachable`
 */
export function call<C extends CommandName>(
  control: string,
  command: C,
  args: CommandArgs<C>,
): Promise<CommandResults[C]> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      socket.destroy();
      reject(new ControlError('unreachable', `no daemon on ${control}: ${why}`));
    };
    let text = '';
    const socket = connect(control);
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(encodeLine({ id: 1, command, args })));
    socket.on('error', (error) => fail(wordsOf(error)));
    socket.on('close', () => fail('the connection was closed without a reply'));
    socket.on('data', (part: string) => {
      text += part;
      const end = text.indexOf('\n');
      if (end < 0) {
        if (text.length > MAX_REPLY_LENGTH) fail('the reply does not end');
        return;
      }
      const reply = parseReply(text.slice(0, end));
      if (reply === undefined || 'event' in reply) {
        fail('what answers there is no dmiod');
        return;
      }
      socket.destroy();
      if ('error' in reply) reject(errorOfReply(reply.error));
      // Parsed by the type of the command: daemon and client are one package (`version` compares).
      else resolve(reply.result as CommandResults[C]);
    });
  });
}

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'no such socket (is dmiod running? is --control right?)',
  ECONNREFUSED: 'nobody listens there (is dmiod running?)',
  EACCES: 'permission denied (the socket is for root and its group)',
};

function wordsOf(error: NodeJS.ErrnoException): string {
  return WORDS[error.code ?? ''] ?? error.message;
}
