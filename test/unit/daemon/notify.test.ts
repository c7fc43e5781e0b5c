// What systemd and the journal are told, heard by a datagram socket of our own (python3: Node has none).
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { journalEntry, withPriority } from '../../../daemon/journal.ts';
import { EVENT_IDS } from '../../../daemon/event.ts';
import { openNotifier } from '../../../daemon/notify.ts';
import { tempDirectory } from '../../support/temp.ts';

const folder = tempDirectory();

const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
for i in range(int(sys.argv[2])):
    print(repr(s.recv(4096).decode()), flush=True)
`;

/** Hears \`count\` datagrams while \`speak\` speaks. */
async function heard(count: number, speak: (path: string) => void): Promise<string[]> {
  const path = join(folder, 'notify');
  const child = spawn('python3', ['-c', LISTENER, path, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  const ended = new Promise((tell) => child.on('close', tell));
  const end = Date.now() + 20_000;
  while (!existsSync(path) && Date.now() < end) await sleep(20);
  speak(path);
  await Promise.race([ended, sleep(10_000, undefined, { ref: false })]);
  child.kill();
  return text.trim().split('\n');
}

it('says ready, reloading, stopping, and proves that the loop turns', async () => {
  const lines = await heard(4, (path) => {
    const environment: NodeJS.ProcessEnv = { NOTIFY_SOCKET: path, WATCHDOG_USEC: '200000' };
    const notifier = openNotifier(environment, 7);
    expect(environment).toEqual({});
    notifier.ready('serving');
    notifier.reloading();
    notifier.stopping();
  });
  expect(lines[0]).toBe("'READY=1\\nSTATUS=serving'");
  expect(lines[1]).toMatch(/^'RELOADING=1\\nMONOTONIC_USEC=\d+'$/);
  expect(lines[2]).toMatch(/^'STOPPING=1\\n/);
  expect(lines[3]).toBe("'WATCHDOG=1'");
});

it('keeps silent without a socket, and leaves a watchdog meant for another process', () => {
  const environment: NodeJS.ProcessEnv = { WATCHDOG_USEC: '1000', WATCHDOG_PID: '8' };
  openNotifier(environment, 7).ready('serving');
  expect(environment).toEqual({});
});

it('puts the priority in front of a line', () => {
  expect(withPriority('{"level":50,"msg":"x"}\n')).toBe('<3>{"level":50,"msg":"x"}\n');
  expect(withPriority('{"level":30,"msg":"x"}\n')).toBe('<6>{"level":30,"msg":"x"}\n');
});

it('makes an entry of an event only, a field a line, whatever a name holds', () => {
  const fields = { event: 'leg-failed', device: 'data', eventNr: 3, leg: '/a\nMESSAGE=forged' };
  expect(journalEntry(4, fields, 'leg failed')).toBe(
    `MESSAGE=leg failed\nMESSAGE_ID=${EVENT_IDS['leg-failed']}\nPRIORITY=4\nSYSLOG_IDENTIFIER=dmiod\n` +
      'DMIOD_EVENT=leg-failed\nDMIOD_DEVICE=data\nDMIOD_EVENT_NR=3\nDMIOD_LEG=/a MESSAGE=forged\n',
  );
  expect(journalEntry(4, { device: 'data' }, 'x')).toBeUndefined();
  expect(new Set(Object.values(EVENT_IDS)).size).toBe(Object.keys(EVENT_IDS).length);
});
