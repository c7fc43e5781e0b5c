// The plug is pulled again and again under a writer whose acknowledged records are counted outside.
import { setTimeout as sleep } from 'node:timers/promises';

import { Prng } from '../../../core/base/prng.ts';
import { Guest } from './guest.ts';
import { acknowledged, found, INSTALL_WRITER } from './records.ts';

const CUTS = Number(process.env['DMIOD_VM_CUTS'] ?? 20);

interface Legs {
  readonly log: 'core' | 'native';
  /** What the legs are, in words. */
  readonly on: string;
  readonly a: string;
  readonly b: string;
}

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

/** The scenario, as a test of the file that calls it. */
export function itSurvivesPowerCuts({ log, on, a, b }: Legs): void {
  let guest: Guest;
  afterEach(() => guest.remove());

  const what = `${CUTS} hard power-offs, ${log} log, legs in ${on}`;
  it(`${what}: nothing fsynced is missing, no sector flips`, async () => {
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
    for (let cut = 1; cut <= CUTS; cut += 1) {
      const boot = guest.start(`${NO_SECTOR_FLIPS}
        mount /dev/nbd0 /srv
        perl /root/writer.pl`);
      await boot.until(/FOUND \d+|FAILED/);
      expect(boot.console).not.toContain('FAILED');
      expect([cut, found(boot.console) >= acked]).toEqual([cut, true]);
      await boot.until(/ACK \d+/);
      await sleep(prng.below(1500));
      await boot.powerOff();
      acked = Math.max(acked, acknowledged(boot.console));
    }
    process.stdout.write(`${log}: pulled the plug ${CUTS} times, ${acked} records\n`);
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
    expect(acked).toBeGreaterThan(CUTS);
  });
}
