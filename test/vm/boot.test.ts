// The machine's life: the device is there after a boot, mounted by fstab, and leaves clean.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../support/root.ts';
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

/** Somebody works in the file system, and does not stop for a shutdown. */
const USE = `
    until mountpoint -q /srv/data; do sleep 0.2; done
    dmio attached
    cat > /root/writer <<'W'
#!/bin/bash
n=0
cd /srv/data
while cp /usr/bin/perl new; do sync -f new; n=$((n + 1)); mv new copy-$((n % 40)); done
W
    chmod +x /root/writer
    systemd-run --unit=writer /root/writer
    until [ -e /srv/data/copy-2 ]; do sleep 0.2; done`;

/** The journal of the file system and the set were left clean, and what was written is there. */
const CHECK = `
    until mountpoint -q /srv/data; do sleep 0.2; done
    blockdev --getsize64 /dev/nbd0 > /root/size
    journalctl -k -o cat --no-pager > /run/kernel; journalctl -u dmiod -o cat --no-pager > /run/dmiod.log
    grep -i 'nbd0.*mounted' /run/kernel
    fails grep 'EXT4-fs (nbd0).*recover' /run/kernel
    fails grep -i resync /run/dmiod.log
    dmio status data --check
    for copy in /srv/data/copy-*; do cmp $copy /usr/bin/perl; done
    rm /srv/data/copy-*`;

/** What systemd/README.md says of a file system at boot, word for word, but for the legs. */
function fromReadme(): string {
  const text = readFileSync(join(ROOT, 'systemd/README.md'), 'utf8');
  const [, block = ''] = /## A file system at boot\n\n```\n([^`]*)```/.exec(text) ?? [];
  const words = block
    .replace('/dev/disk/by-id/one', '/dev/ubdb')
    .replace('/dev/disk/by-id/two', '/dev/ubdc');
  expect(words).toMatch(/dmio create data --mirror \/dev\/ubdb \/dev\/ubdc\n[^]*>> \/etc\/fstab/);
  return words;
}

it('unit enabled, mounted by fstab; powered off and rebooted while busy: clean journal, clean set', async () => {
  guest = new Guest('boot');
  const first = await guest.boot(
    `${fromReadme()}
    dmio wait data --in-sync --timeout 600`,
    { orderly: true },
  );
  expect(first.code).toBe(0);

  const second = await guest.boot(
    `${USE}
    ls /srv/data`,
    { orderly: true },
  );
  expect(second.console).toMatch(/copy-1/);
  expect(second.code).toBe(0);
  expect(second.console).not.toMatch(/I\/O error|EXT4-fs error/);

  // user-mode-linux boots again in the same process; the job runs anew, too.
  const third = await guest.boot(
    `if [ ! -e /host/rebooted ]; then
      ${CHECK}
      ${USE}
      touch /host/rebooted
      systemctl --no-block reboot
      sleep infinity
    fi
    echo REBOOTED
    ${CHECK}
    systemctl stop srv-data.mount
    systemctl stop dmiod-attach@data
    [ ! -e /sys/block/nbd0/pid ]
    legs_equal
    e2fsck -fn /dev/ubdb`,
    { orderly: true },
  );
  expect(third.console).toContain('REBOOTED');
  expect(third.console).not.toContain('FAILED');
  expect(third.console).not.toMatch(/I\/O error|EXT4-fs error/);
  expect(third.code).toBe(0);
});
