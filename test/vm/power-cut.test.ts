// The plug is pulled again and again under a writer whose acknowledged records are counted outside.
import { Prng } from '../../core/base/prng.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { Guest } from './support/guest.ts';
import { acknowledged, found, INSTALL_WRITER } from './support/records.ts';

let guest: Guest;
afterEach(() => guest.remove());

const CUTS = Number(process.env['DMIOD_VM_CUTS'] ?? 20);
/** On a machine with much other work a boot takes a minute: fewer cuts then, and it is said how many. */
const BUDGET_MS = 420_000;
const LEAST_CUTS = Math.min(CUTS, 10);

const KINDS = [
  // What was not flushed is on the disks all the same, or on one of them.
  { log: 'core', on: 'disks', a: '/dev/ubdb', b: '/dev/ubdc' },
  // What was not flushed was in the page cache, and is gone.
  { log: 'native', on: 'files of the page cache', a: '/var/legs/a', b: '/var/legs/b' },
] as const;

/**
 * Three times the whole device, twice as soon as it is there and once when nothing is in doubt: all alike. Legs take
 * turns in being read, and one more read in between makes the second time ask the other leg.
 */
const NO_SECTOR_FLIPS = `
  all() { dd if=/dev/nbd0 iflag=direct bs=64k status=none | sha256sum; }
  one=$(all)
  dd if=/dev/nbd0 iflag=direct bs=4096 count=1 of=/dev/null status=none
  two=$(all)
  dmio wait data --in-sync --timeout 600
  three=$(all)
  [ "$one" = "$two" ] && [ "$two" = "$three" ] || { echo "FAILED: $one $two $three"; exit 1; }`;

it.each(KINDS)(
  `up to ${CUTS} hard power-offs, $log log, legs in $on: nothing fsynced is missing, no sector flips`,
  async ({ log, a, b }) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    process.stdout.write(`power-cut ${log} seed ${seed}\n`);
    const prng = new Prng(seed);
    guest = new Guest(`power-cut-${log}`);
    const first = await guest.boot(
      `mkdir -p /var/legs
      dmio create data --mirror ${a} ${b} --size 64M --log ${log} --read-policy round-robin >/dev/null
      attach
      mkfs.ext4 -q /dev/nbd0
      dmio detach data
      ${INSTALL_WRITER}
      systemctl enable dmiod-attach@data.service`,
      { orderly: true },
    );
    expect(first.code).toBe(0);

    let acked = 0;
    let cuts = 0;
    const end = Date.now() + BUDGET_MS;
    while (cuts < CUTS && (cuts < LEAST_CUTS || Date.now() < end)) {
      cuts += 1;
      const boot = guest.start(`${NO_SECTOR_FLIPS}
        mount /dev/nbd0 /srv
        perl /root/writer.pl`);
      await boot.until(/FOUND \d+|FAILED/);
      expect(boot.console).not.toContain('FAILED');
      expect([cuts, found(boot.console) >= acked]).toEqual([cuts, true]);
      await boot.until(/ACK \d+/);
      await sleep(prng.below(1500));
      await boot.powerOff();
      acked = Math.max(acked, acknowledged(boot.console));
    }
    process.stdout.write(`${log}: pulled the plug ${cuts} times, ${acked} records\n`);
    const last = await guest.boot(`${NO_SECTOR_FLIPS}
      mount /dev/nbd0 /srv
      perl /root/writer.pl check
      umount /srv
      e2fsck -fn /dev/nbd0
      dmio detach data
      systemctl stop dmiod.socket dmiod
      legs_equal ${a} ${b}`);
    expect(last.console).not.toContain('FAILED');
    expect(last.code).toBe(0);
    expect(found(last.console)).toBeGreaterThanOrEqual(acked);
    expect(acked).toBeGreaterThan(cuts);
  },
);
