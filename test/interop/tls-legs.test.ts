// Remote legs behind TLS: what servers prove and what they do not, each refusal in one clear line; and
// that a server behind TLS is fenced by its own socket's end, not by that of our tunnel.
import { rmSync, writeFileSync } from 'node:fs';
import { createServer, connect as connectTo, type Socket } from 'node:net';
import { join } from 'node:path';

import { SILENT_LOG } from '../../core/base/ports.ts';
import { Export } from '../../core/export/export.ts';
import { ExportTable } from '../../core/export/export-table.ts';
import { parseNbdUri } from '../../core/nbd/uri.ts';
import { NODE_CLOCK } from '../../daemon/clock.ts';
import { policyOf } from '../../daemon/config/network.ts';
import type { ListenAddress } from '../../daemon/net/address.ts';
import { NbdServer } from '../../daemon/net/server.ts';
import { createNodeLoop } from '../../daemon/node-loop.ts';
import { connect } from '../../daemon/remote/connect.ts';
import { openRemoteLeg } from '../../daemon/remote/leg.ts';
import { loadCredentials } from '../../daemon/tls/credentials.ts';
import { TlsTerminator } from '../../daemon/tls/terminator.ts';
import { TestAuthority } from '../support/certificates.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { tempDirectory } from '../support/temp.ts';

const SIZE = 2 ** 20;
const dir = tempDirectory();
const authority = new TestAuthority(join(dir, 'pki'));
const stranger = new TestAuthority(join(dir, 'other'));
const alice = authority.issue('alice', 'client', '/CN=alice');
const late = authority.issue('late', 'client', '/CN=late', { days: -1 });
const mallory = stranger.issue('mallory', 'client', '/CN=alice');
// Mallory believes our servers; they must not believe Mallory.
writeFileSync(join(mallory, 'ca-cert.pem'), await pem(join(alice, 'ca-cert.pem')));
const nobody = authority.issue('nobody', 'client', '/CN=nobody');
for (const half of ['cert', 'key']) rmSync(join(nobody, `client-${half}.pem`));
const half = authority.issue('half', 'client', '/CN=half');
rmSync(join(half, 'client-key.pem'));
const pskFile = join(dir, 'psk');
writeFileSync(pskFile, 'carol:00112233445566778899aabbccddeeff\n');
const badPsk = join(dir, 'bad-psk');
writeFileSync(
  badPsk,
  'carol:ff112233445566778899aabbccddeeff\nbob:00112233445566778899aabbccddeeff\n',
);

const loop = createNodeLoop();
const SERVERS = {
  good: {},
  expired: { days: -1 },
  'another host': { hosts: 'DNS:elsewhere.example' },
} as const;
const running: NbdServer[] = [];
const terminators: TlsTerminator[] = [];
const ports = new Map<string, number>();

async function pem(file: string): Promise<string> {
  return (await import('node:fs/promises')).readFile(file, 'utf8');
}

function terminator(files: Parameters<typeof loadCredentials>[0]): TlsTerminator {
  const made = new TlsTerminator(loadCredentials(files));
  terminators.push(made);
  return made;
}

async function serve(name: string, certificates: string | null): Promise<void> {
  const table = new ExportTable();
  table.add(new Export({ name: 'x', device: new MemoryDevice({ loop, sectors: SIZE / 512 }) }));
  const config = { tls: certificates === null ? undefined : { mode: 'required', certificates } };
  const settings = JSON.parse(JSON.stringify({ config, devices: {} })) as Parameters<
    typeof policyOf
  >[0];
  const files = { certificates: certificates ?? undefined, pskFile, verifyClients: true };
  const tls = certificates === null ? {} : { tls: terminator(files) };
  const server = new NbdServer({ exports: table, loop, policy: policyOf(settings), ...tls });
  const where = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  running.push(server);
  ports.set(name, (where as Extract<ListenAddress, { kind: 'tcp' }>).port);
}

beforeAll(async () => {
  for (const [name, more] of Object.entries(SERVERS)) {
    await serve(name, authority.issue(`server ${name}`, 'server', '/CN=localhost', more));
  }
  await serve('in the clear', null);
});
afterAll(async () => {
  for (const server of running) await server.close();
  for (const one of terminators) await one.close();
});

const at = (name: string): string => `127.0.0.1:${ports.get(name) ?? 0}`;

/** `served`, or why not. */
async function trial(address: string): Promise<string> {
  const uri = parseNbdUri(address);
  if (typeof uri === 'string') return uri;
  try {
    const { socket, facts } = await connect(uri, 30_000).connected;
    socket.destroy();
    return facts.sizeBytes === SIZE ? 'served' : 'another size';
  } catch (error) {
    return (error as Error).message;
  }
}

const withFiles = (server: string, folder: string, more = ''): string =>
  `nbds://${at(server)}/x?tls-certificates=${folder}${more}`;
const withKey = (server: string, user: string, file: string): string =>
  `nbds://${user}@${at(server)}/x?tls-psk-file=${file}`;

describe('a leg behind TLS', () => {
  it.each<[string, () => string]>([
    ['a certificate', () => withFiles('good', alice)],
    ['a name that the certificate has', () => withFiles('good', alice, '&tls-hostname=localhost')],
    ['a pre-shared key', () => withKey('good', 'carol', pskFile)],
  ])('is served with %s', async (_, address) => {
    expect(await trial(address())).toBe('served');
  });

  it.each<[string, () => string, string]>([
    [
      'an authority we do not believe',
      () => withFiles('good', join(dir, 'other')),
      "the server's certificate is of an authority that we do not believe",
    ],
    [
      'the authorities of the web, where none is named',
      () => `nbds://${at('good')}/x`,
      "the server's certificate is of an authority that we do not believe",
    ],
    [
      'a certificate for another host',
      () => withFiles('another host', alice),
      "the server's certificate is not for 127.0.0.1",
    ],
    [
      'a certificate for another name than the one asked for',
      () => withFiles('good', alice, '&tls-hostname=store.example'),
      "the server's certificate is not for store.example",
    ],
    [
      'an expired certificate',
      () => withFiles('expired', alice),
      "the server's certificate has expired",
    ],
    [
      'no certificate of ours',
      () => withFiles('good', nobody),
      'the server wants a client certificate',
    ],
    ["a stranger's certificate", () => withFiles('good', mallory), 'not believe our certificate'],
    ['our expired certificate', () => withFiles('good', late), 'our certificate'],
    [
      'a wrong key',
      () => withKey('good', 'carol', badPsk),
      'the server does not know our pre-shared key',
    ],
    ['a key the server has not', () => withKey('good', 'bob', badPsk), 'the server'],
    ['a server without TLS', () => withFiles('in the clear', alice), 'the server has no TLS'],
    [
      'a server that wants TLS, in the clear',
      () => `nbd://${at('good')}/x`,
      'the server wants TLS: write nbds://',
    ],
    [
      'no such folder',
      () => withFiles('good', '/nowhere'),
      '/nowhere/ca-cert.pem: there is no such',
    ],
    ['half of a pair', () => withFiles('good', half), 'client-key.pem: there is no such file'],
    ['no such key', () => withKey('good', 'dave', pskFile), `${pskFile}: there is no key of dave`],
  ])('is refused with %s, in one line', async (_, address, why) => {
    const said = await trial(address());
    expect(said).toContain(why);
    expect(said).not.toMatch(/\n|served/);
  });
});

describe('a server behind TLS', () => {
  it('is fenced when its own socket has ended, not before', async () => {
    // A wire that, when it is cut, brings nothing of the server any more.
    const ends: Socket[] = [];
    let cut = (): void => undefined;
    const wire = createServer({ allowHalfOpen: true }, (near) => {
      const port = ports.get('good') ?? 0;
      const there = connectTo({ port, host: '127.0.0.1', allowHalfOpen: true });
      ends.push(near, there);
      near.pipe(there);
      there.pipe(near, { end: false });
      cut = () => there.unpipe(near).resume();
    });
    await new Promise<void>((done) => wire.listen(0, '127.0.0.1', done));
    const address = wire.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const uri = `nbds://127.0.0.1:${port}/x?tls-certificates=${alice}&connections=1`;
    const options = { loop, clock: NODE_CLOCK, log: SILENT_LOG, readOnly: false };
    const leg = await openRemoteLeg(uri, options);
    cut();
    await leg.close();
    await expect(openRemoteLeg(uri, options)).rejects.toThrow(
      'has not closed 1 earlier connection',
    );
    for (const socket of ends) socket.on('error', () => undefined).destroy();
    wire.close();
    let again: Error | null = null;
    for (let tries = 0; tries < 600; tries += 1) {
      again = await openRemoteLeg(uri, options).then(
        () => null,
        (error: unknown) => error as Error,
      );
      if (again?.message.includes('nobody listens there') === true) break;
      await new Promise((done) => setTimeout(done, 50));
    }
    expect(again?.message).toContain('nobody listens there');
  });
});
