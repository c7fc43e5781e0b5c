// The servers of the table, each over sparse files of its own.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { behindSocket, blank, FILE_SERVERS, type FileServer } from '../support/remote-servers.ts';
import { DMIO } from '../support/running.ts';

const SIZE_BYTES = 2 ** 27;

/** A mirror of two files; `engine` as `dmio serve` takes it. */
export async function startDmiod(folder: string, engine: string): Promise<FileServer> {
  const legs = [join(folder, 'leg0.img'), join(folder, 'leg1.img')];
  for (const leg of legs) blank(leg, SIZE_BYTES);
  return behindSocket(folder, 'dmiod', 'disk', (socket) => [
    ...[process.execPath, DMIO, 'serve', '--mirror', ...legs, '--assume-clean', '--name', 'disk'],
    ...['--socket', socket, '--engine', engine],
  ]);
}

/** One after the other, each gone before the next. */
export async function withServers(
  look: (label: string, uri: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'dmio-peers-'));
  try {
    await within(await startDmiod(folder, 'auto'), (uri) => look('dmiod', uri));
    for (const name of ['nbdkit', 'qemu-nbd', 'nbd-server']) {
      const file = join(folder, `${name}.img`);
      blank(file, SIZE_BYTES);
      const server = await FILE_SERVERS[name]?.(folder, file);
      if (server !== undefined) await within(server, (uri) => look(name, uri));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function within(server: FileServer, use: (uri: string) => Promise<void>): Promise<void> {
  try {
    await use(server.uri);
  } finally {
    await server.stop();
  }
}
