// Lists of revoked certificates, made by openssl and by certtool: a certificate that is revoked while the daemon runs
// is refused after SIGHUP, and a server whose certificate is revoked is refused as a leg at the next connection.
import { copyFileSync, cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { TestAuthority } from '../support/certificates.ts';
import { Place } from '../support/place.ts';
import { DAEMON_ARGS, isReady, start } from '../support/programs.ts';
import { nbdkit } from '../support/remote-servers.ts';
import { runBeside } from '../support/run.ts';
import type { Running } from '../support/running.ts';

const SLOW = 120_000;
const place = new Place();
const path = (name: string): string => place.path(name);

/** A daemon that serves `disk` to who has a certificate, on TCP. */
async function secureDaemon(certificates: string): Promise<Running> {
  const tls = `[tls]\nmode = "required"\ncertificates = "${certificates}"\nverify-clients = true\n`;
  const network = `allow = ["subject:CN=alice", "subject:CN=bob"]\n${tls}plain-unix = true\n`;
  writeFileSync(path('dmiod.toml'), `${network}\n[device.disk]\nlinear = "disk.img"\n`);
  expect((await runBeside(place.folder, 'truncate', '-s', '1M', 'disk.img')).code).toBe(0);
  const more = ['--config', 'dmiod.toml', '--listen', 'tcp:127.0.0.1:0'];
  const daemon = start(place.folder, ...DAEMON_ARGS, ...more);
  await daemon.until(() => isReady(daemon));
  return daemon;
}

const portOf = (daemon: Running): string =>
  /"address":"127\.0\.0\.1:(\d+)"/.exec(daemon.stderr)?.[1] ?? '0';

async function reload(daemon: Running): Promise<void> {
  const before = daemon.stderr.split('config file reloaded').length;
  daemon.signal('SIGHUP');
  await daemon.until(() => daemon.stderr.split('config file reloaded').length > before);
}

/** `in`, or `refused`, and libnbd's words when it is neither. */
async function libnbd(uri: string): Promise<string> {
  const code = `h.set_uri_allow_local_file(True)\nh.connect_uri("${uri}")\nprint(h.get_size())`;
  const ran = await runBeside(place.folder, 'nbdsh', '-c', code);
  if (ran.code === 0) return ran.stdout.trim() === '1048576' ? 'in' : ran.stdout;
  return /nbd_connect_uri/.test(ran.stderr) ? 'refused' : ran.stderr;
}

async function qemu(folder: string, port: string): Promise<string> {
  const credentials = `tls-creds-x509,id=t,dir=${folder},endpoint=client`;
  const options = `driver=nbd,host=localhost,port=${port},export=disk,tls-creds=t`;
  const args = ['info', '--object', credentials, '--image-opts', options];
  const ran = await runBeside(place.folder, 'qemu-img', ...args);
  return ran.code === 0 ? 'in' : 'refused';
}

describe('a certificate that is revoked while the daemon runs', () => {
  it.each(['openssl', 'certtool'] as const)(
    'is refused after SIGHUP, others are not (list by %s)',
    async (tool) => {
      const authority = new TestAuthority(path('pki'));
      cpSync(authority.issue('server', 'server', '/CN=localhost'), path('live'), {
        recursive: true,
      });
      const [alice, bob] = ['alice', 'bob'].map((name) =>
        authority.issue(name, 'client', `/CN=${name}`),
      ) as [string, string];
      const daemon = await secureDaemon('live');
      const port = portOf(daemon);
      const ask = async (): Promise<readonly string[]> => {
        const said: string[] = [];
        for (const folder of [alice, bob]) {
          said.push(await libnbd(`nbds://localhost:${port}/disk?tls-certificates=${folder}`));
          said.push(await qemu(folder, port));
        }
        return said;
      };
      expect(await ask()).toEqual(['in', 'in', 'in', 'in']);
      copyFileSync(authority.revocations(tool, []), path('live/ca-crl.pem'));
      await reload(daemon);
      expect(await ask()).toEqual(['in', 'in', 'in', 'in']);
      copyFileSync(authority.revocations(tool, [alice]), path('live/ca-crl.pem'));
      // The list counts when it is read.
      expect(await ask()).toEqual(['in', 'in', 'in', 'in']);
      await reload(daemon);
      expect(await ask()).toEqual(['refused', 'refused', 'in', 'in']);
      // A list that cannot be read changes nothing.
      writeFileSync(path('live/ca-crl.pem'), 'not a list\n');
      daemon.signal('SIGHUP');
      await daemon.until(() => daemon.stderr.includes('certificates not reloaded'));
      expect(await ask()).toEqual(['refused', 'refused', 'in', 'in']);
      expect(await daemon.stop()).toBe(0);
    },
    SLOW,
  );
});

it(
  'is refused as a leg from its next connection on, when the server is revoked',
  async () => {
    const authority = new TestAuthority(path('pki'));
    const folder = authority.issue('far', 'server', '/CN=localhost');
    const ours = authority.issue('us', 'client', '/CN=us');
    const args = ['--tls=require', `--tls-certificates=${folder}`, 'memory', '1M'];
    const server = await nbdkit(place.folder, 'far', ...args).start();
    try {
      writeFileSync(path('dmiod.toml'), 'auto-re-add = false\n');
      const daemon = start(place.folder, ...DAEMON_ARGS, '--config', 'dmiod.toml');
      await daemon.until(() => isReady(daemon));
      const leg = `nbds+unix:///?socket=${path('far.sock')}&tls-certificates=${ours}&timeout=2`;
      place.ok('create', 'data', '--mirror', 'local.img', leg, '--size', '1M');
      place.ok('wait', 'data', '--in-sync', '--timeout', '60');
      copyFileSync(authority.revocations('openssl', [folder]), join(ours, 'ca-crl.pem'));
      await server.kill();
      await server.start();
      const end = Date.now() + 60_000;
      const write = `h.pwrite(b'x' * 4096, 0); h.flush()`;
      while (place.statusOf('data').legs[1]?.state !== 'failed' && Date.now() < end) {
        const ran = await runBeside(place.folder, 'nbdsh', '-u', place.uriOf('data'), '-c', write);
        expect(ran.code).toBe(0);
        await sleep(100);
      }
      expect(place.statusOf('data').legs[1]).toMatchObject({ state: 'failed' });
      expect(daemon.stderr).toContain('revoked');
      expect(await daemon.stop()).toBe(0);
    } finally {
      await server.kill();
    }
  },
  SLOW,
);
