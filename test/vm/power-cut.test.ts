// The plug is pulled again and again under a writer whose acknowledged records are counted outside.
import { Prng } from '../../core/base/prng.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { Guest } from './support/guest.ts';
import { acknowledged, found, INSTALL_WRITER } from './support/records.ts';

let guest: Guest;
afterEach(() => guest.remove());

const CUTS = Number(process.env['DMIOD_VM_CUTS'] ?? 20);
/** On a machine with much other work a boot takes a minute: fewer cuts then, and it is said how many. */
const BUDGET_MS = 480_000;
const LEAST_CUTS = Math.min(CUTS, 10);

it(`up to ${CUTS} hard power-offs: nothing fsynced is missing, legs agree at the end`, async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  process.stdout.write(`power-cut seed ${seed}\n`);
  const prng = new Prng(seed);
  guest = new Guest('power-cut');
  const first = await guest.boot(
    `dmio create data --mirror /dev/ubdb /dev/ubdc --assume-clean >/dev/null
      attach
      mkfs.ext4 -q -L data /dev/nbd0
      dmio detach data
      ${INSTALL_WRITER}
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
    expect([cuts, found(boot.console) >= acked]).toEqual([cuts, true]);
    await boot.until(/ACK \d+/);
    await sleep(prng.below(1500));
    await boot.powerOff();
    acked = Math.max(acked, acknowledged(boot.console));
  }
  process.stdout.write(`pulled the plug ${cuts} times, ${acked} records\n`);
  const last = await guest.boot(
    `until mountpoint -q /srv; do sleep 0.2; done
      perl /root/writer.pl check
      dmio wait data --in-sync --timeout 600
      systemctl stop srv.mount
      [ "$(sha256sum < /dev/nbd0)" = "$(head -c $(cat /root/size) /dev/ubdb | sha256sum)" ]
      e2fsck -fn /dev/nbd0
      dmio detach data
      legs_equal`,
  );
  expect(last.console).not.toContain('FAILED');
  expect(last.code).toBe(0);
  expect(found(last.console)).toBeGreaterThanOrEqual(acked);
  expect(acked).toBeGreaterThan(cuts);
});
