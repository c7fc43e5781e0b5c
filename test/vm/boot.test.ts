// The machine's life: the device is there after a boot, mounted by fstab, and leaves clean.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

it('unit enabled, mounted by fstab; powered off while busy: clean journal, clean set', async () => {
  guest = new Guest('boot');
  const first = await guest.boot(
    `dmio create data --mirror /dev/ubdb /dev/ubdc --assume-clean >/dev/null
    dmio attach data
    mkfs.ext4 -q -L data /dev/nbd0
    dmio detach data
    mkdir -p /srv/data
    echo 'LABEL=data /srv/data ext4 _netdev,nofail,x-systemd.requires=dmiod-attach@data.service,x-systemd.device-timeout=60 0 2' >> /etc/fstab
    systemctl enable dmiod-attach@data.service`,
    { orderly: true },
  );
  expect(first.code).toBe(0);

  const second = await guest.boot(
    `until mountpoint -q /srv/data; do sleep 0.2; done
    dmio attached
    cat > /root/writer <<'W'
#!/bin/bash
n=0
cd /srv/data
while cp /usr/bin/perl new; do sync -f new; n=$((n + 1)); mv new copy-$((n % 40)); done
W
    chmod +x /root/writer
    systemd-run --unit=writer /root/writer
    sleep 4
    ls /srv/data`,
    { orderly: true },
  );
  expect(second.console).toMatch(/copy-1/);
  expect(second.code).toBe(0);
  expect(second.console).not.toMatch(/I\/O error|EXT4-fs error/);

  const third = await guest.boot(
    `until mountpoint -q /srv/data; do sleep 0.2; done
    journalctl -k -o cat --no-pager | grep -i 'nbd0.*mounted'
    journalctl -k -o cat --no-pager | grep 'EXT4-fs (nbd0).*recover' && exit 1
    journalctl -u dmiod -o cat --no-pager | grep -i 'resync' && exit 1
    dmio status data --check
    for copy in /srv/data/copy-*; do cmp $copy /usr/bin/perl; done
    systemctl stop srv-data.mount
    systemctl stop dmiod-attach@data
    [ ! -e /sys/block/nbd0/pid ]
    cmp /dev/ubdb /dev/ubdc
    e2fsck -fn /dev/ubdb`,
    { orderly: true },
  );
  expect(third.code).toBe(0);
});
