// The plug is pulled again and again under a writer whose acknowledged records are counted outside.
import { Guest } from './support/guest.ts';
import { Prng } from '../../core/base/prng.ts';
import { setTimeout as sleep } from 'node:timers/promises';

let guest: Guest;
afterEach(() => guest.remove());

const CUTS = Number(process.env['DMIOD_VM_CUTS'] ?? 20);
/** On a machine with much other work a boot takes a minute: fewer cuts then, and it is said how many. */
const BUDGET_MS = 300_000;
const LEAST_CUTS = 3;

/** Checks all records, then appends more: each is on the console when its fsync has returned. */
const WRITER = `
use strict; use IO::Handle;
open(my $f, '+>>', '/srv/records') or die; open(my $c, '>', '/dev/console') or die; $c->autoflush(1);
my $n = (-s '/srv/records') / 512;
$n = int($n);
seek($f, 0, 0);
for my $i (1 .. $n) { read($f, my $r, 512) == 512 or die "record $i"; $r eq sprintf("%-511d\\n", $i) or die "record $i is wrong"; }
truncate($f, $n * 512);
print $c "FOUND $n\\n";
while (1) { $n++; syswrite($f, sprintf("%-511d\\n", $n)) == 512 or die; $f->sync or die; print $c "ACK $n\\n"; }
`;

it(`up to ${CUTS} hard power-offs: nothing fsynced is missing, legs agree after each`, async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  process.stdout.write(`power-cut seed ${seed}\n`);
  const prng = new Prng(seed);
  guest = new Guest('power-cut');
  const first = await guest.boot(
    `dmio create data --mirror /dev/ubdb /dev/ubdc --assume-clean >/dev/null
    dmio attach data
    mkfs.ext4 -q -L data /dev/nbd0
    dmio detach data
    cat > /root/writer.pl <<'W'
${WRITER}
W
    echo 'LABEL=data /srv ext4 _netdev,nofail,x-systemd.requires=dmiod-attach@data.service,x-systemd.device-timeout=600 0 0' >> /etc/fstab
    systemctl enable dmiod-attach@data.service`,
    { orderly: true },
  );
  expect(first.code).toBe(0);

  let acked = 0;
  let cuts = 0;
  const end = Date.now() + BUDGET_MS;
  while (cuts < CUTS && (cuts < LEAST_CUTS || Date.now() < end)) {
    cuts += 1;
    const boot = guest.start(
      `until mountpoint -q /srv; do sleep 0.2; done
      perl /root/writer.pl`,
    );
    await boot.until(/FOUND \d+/);
    const found = Number(/FOUND (\d+)/.exec(boot.console)?.[1]);
    expect([cuts, found >= acked]).toEqual([cuts, true]);
    await boot.until(/ACK \d+/);
    await sleep(prng.below(1500));
    await boot.powerOff();
    acked = Math.max(
      acked,
      ...[...boot.console.matchAll(/^ACK (\d+)\r?$/gm)].map((m) => Number(m[1])),
    );
  }
  process.stdout.write(`pulled the plug ${cuts} times, ${acked} records\n`);
  const last = await guest.boot(
    `until mountpoint -q /srv; do sleep 0.2; done
    dmio wait data --in-sync --timeout 600
    systemctl stop srv.mount
    [ "$(sha256sum < /dev/nbd0)" = "$(sha256sum < /dev/ubdb)" ]
    e2fsck -fn /dev/nbd0
    dmio detach data
    cmp /dev/ubdb /dev/ubdc`,
  );
  expect(last.console).not.toContain('FAILED');
  expect(last.code).toBe(0);
  expect(acked).toBeGreaterThan(cuts);
});
