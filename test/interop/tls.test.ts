// TLS with the peers people use: libnbd (GnuTLS), qemu (GnuTLS), openssl s_client behind a STARTTLS
// of our own. Each of them is refused when it should be, and an attacker on the line gets nothing.
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';

import { Export } from '../../core/export/export.ts';
import { ExportTable } from '../../core/export/export-table.ts';
import { REPLY } from '../../core/nbd/proto.ts';
import { policyOf } from '../../daemon/config/network.ts';
import type { ListenAddress } from '../../daemon/net/address.ts';
import { NbdServer } from '../../daemon/net/server.ts';
import { createNodeLoop } from '../../daemon/node-loop.ts';
import { loadCredentials } from '../../daemon/tls/credentials.ts';
import { TlsTerminator } from '../../daemon/tls/terminator.ts';
import { TestAuthority } from '../support/certificates.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { clientFlags, infoData, option } from '../support/nbd-messages.ts';
import { RawClient } from '../support/raw-client.ts';
import { runBeside } from '../support/run.ts';
import { tempDirectory } from '../support/temp.ts';

const SIZE = 16 * 2 ** 20;
const TOOL_MS = 60_000;
const dir = tempDirectory();
const authority = new TestAuthority(join(dir, 'pki'));
const stranger = new TestAuthority(join(dir, 'other'));
const serverCertificates = authority.issue('server', 'server', '/CN=localhost');
const alice = authority.issue('alice', 'client', '/O=Example/CN=alice');
const bob = authority.issue('bob', 'client', '/CN=bob');
const mallory = stranger.issue('mallory', 'client', '/CN=alice');
// Mallory believes our server; the server must not believe Mallory.
writeFileSync(join(mallory, 'ca-cert.pem'), await readText(join(alice, 'ca-cert.pem')));
const pskFile = join(dir, 'psk');
writeFileSync(pskFile, 'carol:00112233445566778899aabbccddeeff\n');
const badPsk = join(dir, 'bad-psk');
writeFileSync(badPsk, 'carol:ff112233445566778899aabbccddeeff\n');

const files = { certificates: serverCertificates, pskFile, verifyClients: true };
const loop = createNodeLoop();
const table = new ExportTable();
const tls = new TlsTerminator(loadCredentials(files));
const network = {
  config: { tls: { mode: 'selective', certificates: serverCertificates } },
  devices: {
    secret: {
      tls: 'required',
      allow: ['subject:CN=alice', 'psk:carol'],
      'allow-read': ['subject:CN=bob'],
    },
  },
} as const;
const settings = JSON.parse(JSON.stringify(network)) as Parameters<typeof policyOf>[0];
const forced = {
  ...settings,
  config: { tls: { ...network.config.tls, mode: 'required' as const } },
};
const server = new NbdServer({
  exports: table,
  loop,
  tls,
  policy: policyOf(settings),
  limits: { handshakeTimeoutMs: 3000 },
});
let tcp: Extract<ListenAddress, { kind: 'tcp' }>;

async function readText(file: string): Promise<string> {
  return (await import('node:fs/promises')).readFile(file, 'utf8');
}

beforeAll(async () => {
  for (const name of ['secret', 'open']) {
    table.add(new Export({ name, device: new MemoryDevice({ loop, sectors: SIZE / 512, name }) }));
  }
  tcp = (await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 })) as typeof tcp;
});
afterAll(async () => {
  await server.close();
  expect(server.arenaUsedBytes).toBe(0);
});
afterEach(() => server.setPolicy(policyOf(settings)));

const uri = (scheme: string, name: string, more = '', user = ''): string =>
  `${scheme}://${user}localhost:${tcp.port}/${name}${more}`;
const withCertificate = (folder: string): string => `?tls-certificates=${folder}`;

/** `ok`, or the last words of nbdsh. */
async function trial(address: string, code = 'print(h.get_size())'): Promise<string> {
  const connecting = `h.set_uri_allow_local_file(True)
h.connect_uri("${address}")
`;
  const ran = await runBeside(dir, 'nbdsh', '-c', connecting + code);
  const { code: exit, stdout, stderr } = ran;
  return exit === 0 ? stdout.trim() : `refused: ${stderr.trim().split('\n').at(-1) ?? ''}`;
}

describe('libnbd', () => {
  const write = 'h.pwrite(b"x" * 3000000, 5)\nprint(h.pread(3000000, 5) == b"x" * 3000000)';

  it.each([
    ['a certificate', () => uri('nbds', 'secret', withCertificate(alice)), 'True'],
    ['a pre-shared key', () => uri('nbds', 'secret', `?tls-psk-file=${pskFile}`, 'carol@'), 'True'],
    ['TLS where none is asked for', () => uri('nbds', 'open', withCertificate(bob)), 'True'],
    ['no TLS where none is asked for', () => uri('nbd', 'open'), 'True'],
  ] as const)(
    'writes and reads with %s',
    async (_, address, expected) => {
      expect(await trial(address(), write)).toBe(expected);
    },
    TOOL_MS,
  );

  it.each([
    ['in the clear', () => uri('nbd', 'secret'), /TLS|encryption|not supported/i],
    [
      "with a certificate of somebody else's",
      () => uri('nbds', 'secret', withCertificate(mallory)),
      /refused/,
    ],
    [
      'with a wrong key',
      () => uri('nbds', 'secret', `?tls-psk-file=${badPsk}`, 'carol@'),
      /refused/,
    ],
  ] as const)(
    'is refused %s',
    async (_, address, expected) => {
      const said = await trial(address(), write);
      expect(said).toMatch(/^refused/);
      expect(said).toMatch(expected);
    },
    TOOL_MS,
  );

  it(
    'may only read as bob',
    async () => {
      const code = 'print(h.is_read_only(), len(h.pread(512, 0)))';
      expect(await trial(uri('nbds', 'secret', withCertificate(bob)), code)).toBe('True 512');
    },
    TOOL_MS,
  );

  it(
    'keeps structured replies, contexts and several connections',
    async () => {
      const code = `
m = nbd.NBD(); m.set_uri_allow_local_file(True); m.add_meta_context("base:allocation"); m.connect_uri("${uri('nbds', 'secret', withCertificate(alice))}")
seen = []
m.block_status(2**20, 0, lambda c, o, e, err: seen.append(c) or 0)
print(m.get_structured_replies_negotiated(), seen)`;
      expect(await trial(uri('nbds', 'secret', withCertificate(alice)), code)).toBe(
        "True ['base:allocation']",
      );
    },
    TOOL_MS,
  );

  it(
    'gets nothing in the clear where TLS is required',
    async () => {
      server.setPolicy(policyOf(forced));
      expect(await trial(uri('nbd', 'open'))).toMatch(/^refused/);
      expect(await trial(uri('nbds', 'open', withCertificate(alice)))).toBe(String(SIZE));
    },
    TOOL_MS,
  );

  it(
    'meets other certificates after a reload',
    async () => {
      tls.reload(
        loadCredentials({
          ...files,
          certificates: stranger.issue('server', 'server', '/CN=localhost'),
        }),
      );
      expect(await trial(uri('nbds', 'open', withCertificate(alice)))).toMatch(/^refused/);
      tls.reload(loadCredentials(files));
      expect(await trial(uri('nbds', 'open', withCertificate(alice)))).toBe(String(SIZE));
    },
    TOOL_MS,
  );
});

describe('qemu', () => {
  it.each([
    ['with a certificate', 'secret,tls-creds=t', /virtual size: 16 MiB/],
    ['in the clear where that is enough', 'open', /virtual size: 16 MiB/],
    ['in the clear where it is not', 'secret', /TLS/],
  ])(
    'comes %s',
    async (_, more, expected) => {
      const credentials = `tls-creds-x509,id=t,dir=${alice},endpoint=client`;
      const options = `driver=nbd,host=localhost,port=${tcp.port},export=${more}`;
      const args = ['info', '--object', credentials, '--image-opts', options];
      const { stdout, stderr } = await runBeside(dir, 'qemu-img', ...args);
      expect(stdout + stderr).toMatch(expected);
    },
    TOOL_MS,
  );
});

describe('openssl s_client', () => {
  /** Listens, says STARTTLS for who connects, and then only carries bytes. */
  async function bridge(): Promise<{ port: number; close(): void }> {
    const carrier = createServer((near: Socket) => {
      void (async () => {
        const far = await RawClient.connect(tcp);
        await far.read(18);
        far.send(clientFlags(3));
        far.send(option(5));
        expect((await far.read(20)).readUInt32BE(12)).toBe(REPLY.ACK);
        far.socket.removeAllListeners('data');
        near
          .on('error', () => undefined)
          .pipe(far.socket)
          .pipe(near);
      })();
    });
    carrier.listen(0, '127.0.0.1');
    await once(carrier, 'listening');
    return { port: (carrier.address() as AddressInfo).port, close: () => void carrier.close() };
  }

  async function shake(...args: readonly string[]): Promise<string> {
    const { port, close } = await bridge();
    const { stdout, stderr } = await runBeside(
      dir,
      'timeout',
      ...['8', 'openssl', 's_client', '-brief', '-connect', `127.0.0.1:${port}`, ...args],
    );
    close();
    return stdout + stderr;
  }
  const asAlice = ['-cert', join(alice, 'client-cert.pem'), '-key', join(alice, 'client-key.pem')];
  const trust = ['-CAfile', join(alice, 'ca-cert.pem')];

  it(
    'talks TLS 1.3 and 1.2, and nothing older',
    async () => {
      expect(await shake(...asAlice, ...trust, '-tls1_3')).toMatch(/TLSv1\.3[^]*Verification: OK/);
      expect(await shake(...asAlice, ...trust, '-tls1_2')).toMatch(/TLSv1\.2[^]*Verification: OK/);
      const old = await shake(...asAlice, '-tls1_1', '-cipher', 'DEFAULT:@SECLEVEL=0');
      expect(old).not.toContain('ESTABLISHED');
    },
    TOOL_MS,
  );

  it(
    'needs a certificate',
    async () => {
      expect(await shake(...trust, '-tls1_2')).not.toContain('ESTABLISHED');
    },
    TOOL_MS,
  );
});

describe('an attacker on the line', () => {
  it('cannot put plain options behind STARTTLS', async () => {
    const client = await RawClient.connect(tcp);
    await client.read(18);
    client.send(clientFlags(3));
    client.send(Buffer.concat([option(5), option(7, infoData('open'))]));
    await client.closed;
    // The ACK is all it may have got: no answer to GO.
    await expect(client.read(21)).rejects.toThrow('closed');
  });

  it('gets no TLS by plain bytes, and holds nobody up', async () => {
    const client = await RawClient.connect(tcp);
    await client.read(18);
    client.send(clientFlags(3));
    client.send(option(5));
    await client.read(20);
    client.send(option(7, infoData('open')));
    const other = connect({ host: tcp.host, port: tcp.port });
    await once(other, 'data');
    other.destroy();
    await client.closed;
    await expect(client.read(40)).rejects.toThrow('closed');
  });

  it(
    'is dropped when it never finishes the handshake',
    async () => {
      const client = await RawClient.connect(tcp);
      await client.read(18);
      client.send(clientFlags(3));
      client.send(option(5));
      await client.read(20);
      const since = performance.now();
      await client.closed;
      expect(performance.now() - since).toBeLessThan(9000);
    },
    TOOL_MS,
  );
});
