import { existsSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';

import { SILENT_LOG } from '../../../core/base/ports.ts';
import { ControlError } from '../../../core/control/error.ts';
import { MAX_REQUEST_BYTES } from '../../../core/control/messages.ts';
import { ControlServer } from '../../../daemon/control/server.ts';
import type { Handler } from '../../../daemon/control/server.ts';
import { tempDirectory } from '../../support/temp.ts';

const folder = tempDirectory();
let path = '';
let count = 0;
let server: ControlServer;

const handler: Handler = async ({ command }, signal) => {
  if (command === 'ls') return { devices: [] };
  if (command === 'deps') throw new ControlError('no-device', 'no device x');
  if (command === 'wait') {
    await new Promise((gone) => {
      signal.addEventListener('abort', gone);
    });
    aborted += 1;
    return {};
  }
  throw new Error('a defect');
};
let aborted = 0;

beforeEach(async () => {
  count += 1;
  path = join(folder, `c${count}`);
  server = await ControlServer.listen(path, SILENT_LOG, handler);
});
afterEach(() => {
  server.close();
});

/** Sends the text, in pieces if there are several, and collects what comes until `replies` lines did or the end. */
function talk(pieces: readonly string[], replies: number): Promise<string[]> {
  return new Promise((tell) => {
    let text = '';
    const socket: Socket = connect(path);
    const done = (): void => {
      socket.destroy();
      tell(text.split('\n').filter((line) => line !== ''));
    };
    socket.on('data', (data) => {
      text += data.toString();
      if (text.split('\n').length > replies) done();
    });
    socket.on('close', done);
    socket.on('error', done);
    for (const piece of pieces) socket.write(piece);
  });
}

describe('the control socket', () => {
  it('is for root and its group', () => {
    expect(statSync(path).mode & 0o777).toBe(0o660);
  });

  it('answers requests that come in pieces, or several at once', async () => {
    const lines = [
      '{"id":1,"comm',
      'and":"ls"}\n\n{"id":2,"command":"deps","args":{"name":"x"}}\n',
    ];
    expect((await talk(lines, 2)).map((line) => JSON.parse(line) as unknown)).toEqual([
      { id: 1, result: { devices: [] } },
      { id: 2, error: { code: 'no-device', exit: 4, message: 'no device x' } },
    ]);
  });

  it('answers nonsense with an error, and goes on', async () => {
    const replies = await talk(
      ['nonsense\n{"id":5,"command":"fly"}\n{"id":6,"command":"ls"}\n'],
      3,
    );
    expect(replies[0]).toContain('"id":null,"error":{"code":"bad-request","exit":1,');
    expect(replies[1]).toContain('"id":5,"error":{"code":"bad-request"');
    expect(replies[2]).toContain('"id":6,"result"');
  });

  it('tells of a defect without its stack', async () => {
    const [reply] = await talk(['{"id":1,"command":"version"}\n'], 1);
    expect(reply).toBe(
      '{"id":1,"error":{"code":"internal","exit":1,"message":"internal error: a defect; see the daemon\'s log"}}',
    );
  });

  it('hangs up on a line that does not end', async () => {
    const [reply] = await talk(['x'.repeat(MAX_REQUEST_BYTES), 'y'], 100);
    expect(reply).toContain('a line over 524288 bytes');
  });

  it('takes 32 requests of one client at once, and lets go of them when it goes', async () => {
    const requests = Array.from(
      { length: 33 },
      (_, id) => `{"id":${id},"command":"wait","args":{"name":"x"}}\n`,
    );
    const [reply] = await talk(requests, 1);
    expect(reply).toBe(
      '{"id":32,"error":{"code":"busy","exit":5,"message":"over 32 requests at once"}}',
    );
    await talk(['{"id":1,"command":"ls"}\n'], 1);
    expect(aborted).toBe(32);
  });

  it('is refused while a daemon answers, replaced when it is dead, gone after the end', async () => {
    await expect(ControlServer.listen(path, SILENT_LOG, handler)).rejects.toThrow(
      `control socket ${path}: a live daemon is listening there`,
    );
    server.close();
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, '');
    await expect(ControlServer.listen(path, SILENT_LOG, handler)).rejects.toThrow(
      'a file that is no socket is in the way',
    );
    path += '.stale';
    await leaveStaleSocket(path);
    server = await ControlServer.listen(path, SILENT_LOG, handler);
    expect(await talk(['{"id":1,"command":"ls"}\n'], 1)).toHaveLength(1);
  });
});

/** A socket whose owner died: the file is there, nobody listens. */
async function leaveStaleSocket(at: string): Promise<void> {
  const dying = createServer();
  await new Promise<void>((ready) => {
    dying.listen(`${at}.moved`, ready);
  });
  renameSync(`${at}.moved`, at);
  await new Promise((closed) => dying.close(closed));
}
