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

/** Looks at a server; who finds it gone may have it started again, over the same file. */
type Look = (label: string, uri: string, revive?: () => Promise<void>) => Promise<void>;

/** One after the other, each gone before the next. */
export async function withServers(look: Look): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'dmio-peers-'));
  try {
    const dmiod = await startDmiod(folder, 'auto');
    try {
      await look('dmiod', dmiod.uri);
    } finally {
      await dmiod.stop();
    }
    for (const name of ['nbdkit', 'qemu-nbd', 'nbd-server']) await withPeer(name, folder, look);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function withPeer(name: string, folder: string, look: Look): Promise<void> {
  const start = FILE_SERVERS[name];
  if (start === undefined) throw new Error(`no server ${name}`);
  const file = join(folder, `${name}.img`);
  blank(file, SIZE_BYTES);
  let server = await start(folder, file);
  try {
    await look(name, server.uri, async () => {
      await server.stop();
      server = await start(folder, file);
    });
  } finally {
    await server.stop();
  }
}
