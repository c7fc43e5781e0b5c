// TLS traffic of one device beside a plain connection of another: who does the work. Times would say
// little on a busy machine; the kernel counts what each thread of the daemon has used.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { parseStat } from '../bench/proc.ts';
import { TestAuthority } from '../support/certificates.ts';
import { Place } from '../support/place.ts';
import { engineInUse, startDaemon } from '../support/programs.ts';
import { runBeside } from '../support/run.ts';
import { tempDirectory } from '../support/temp.ts';

const SIZE = 64 * 2 ** 20;
/** Ticks of the kernel's clock, of 10 ms: enough of them for shares. */
const ENOUGH_TICKS = 40;
const MOST_ROUNDS = 40;

const place = new Place();
const pki = tempDirectory();
const authority = new TestAuthority(pki);
const server = authority.issue('server', 'server', '/CN=localhost');
const alice = authority.issue('alice', 'client', '/CN=alice');

/** By thread, ticks of processor time since it began. */
function ticksOf(pid: number): Map<number, number> {
  const ticks = new Map<number, number>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const stat = readFileSync(`/proc/${pid}/task/${id}/stat`, 'latin1');
    ticks.set(Number(id), parseStat(stat).ownTicks);
  }
  return ticks;
}

/** What each thread uses while `uri` is read again and again, until there is enough to tell. */
async function usedBy(pid: number, uri: string): Promise<Map<number, number>> {
  const before = ticksOf(pid);
  const code = `h.set_uri_allow_local_file(True)
h.connect_uri("${uri}")
for at in range(0, ${SIZE}, 2**20): h.pread(2**20, at)
print("read")`;
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    const { code: exit, stdout, stderr } = await runBeside(place.folder, 'nbdsh', '-c', code);
    expect([exit, stdout.trim(), stderr]).toEqual([0, 'read', '']);
    const used = new Map<number, number>();
    for (const [id, ticks] of ticksOf(pid)) used.set(id, ticks - (before.get(id) ?? 0));
    if (total(used) >= ENOUGH_TICKS) return used;
  }
  throw new Error(`the daemon needs next to nothing for ${MOST_ROUNDS} x ${SIZE} bytes`);
}

const total = (used: ReadonlyMap<number, number>): number =>
  [...used.values()].reduce((sum, ticks) => sum + ticks, 0);
const busiest = (used: ReadonlyMap<number, number>): number =>
  [...used].reduce((best, each) => (each[1] > best[1] ? each : best))[0];

it('has a thread of its own, and the thread of a plain device does none of the work', async () => {
  for (const name of ['plain.img', 'secret.img']) {
    writeFileSync(join(place.folder, name), Buffer.alloc(SIZE, 0x5a));
  }
  const tls = `[tls]\nmode = "selective"\ncertificates = "${server}"\n`;
  const devices = ['plain', 'secret'].map((name) => `[device.${name}]\nlinear = "${name}.img"\n`);
  writeFileSync(join(place.folder, 'dmiod.toml'), [tls, ...devices].join('\n'));
  const daemon = await startDaemon(place.folder, '--config', 'dmiod.toml');

  const plain = await usedBy(daemon.pid, place.uriOf('plain'));
  const uri = `nbds+unix://localhost/secret?socket=${place.path('nbd.sock')}&tls-certificates=${alice}`;
  const secret = await usedBy(daemon.pid, uri);
  const ofPlain = busiest(plain);
  const cipher = busiest(secret);
  const share = (secret.get(ofPlain) ?? 0) / total(secret);

  expect(cipher).not.toBe(daemon.pid);
  expect(cipher).not.toBe(ofPlain);
  // Node's engine serves all devices in one thread: there only the cipher is elsewhere.
  if (engineInUse() === 'uring') {
    expect(ofPlain).not.toBe(daemon.pid);
    expect(share).toBeLessThan(0.05);
  }
  expect(await daemon.stop()).toBe(0);
}, 120_000);
