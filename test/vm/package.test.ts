// The Debian package and its owner: removal refuses while in use, purge leaves nothing but the data.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

it('is not removed under a mounted file system; purged, nothing is left; installed again, it serves; hooks and message ids', async () => {
  guest = new Guest('package');
  guest.sharePackage();
  const { code, console } = await guest.boot(`
    export DEBIAN_FRONTEND=noninteractive
    dmio create data --mirror /dev/ubdb /dev/ubdc --assume-clean >/dev/null
    attach
    mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt; echo kept > /mnt/file
    refused 1 dpkg --remove dmiod
    cat /mnt/file; umount /mnt
    echo '# mine' >> /etc/dmiod/dmiod.toml
    systemctl enable dmiod-attach@data
    dpkg -i /host/dmiod.deb
    grep '# mine' /etc/dmiod/dmiod.toml
    dpkg --purge dmiod
    [ ! -e /sys/block/nbd0/pid ]
    for path in /etc/dmiod /var/lib/dmiod /run/dmiod /usr/lib/dmiod /usr/bin/dmio; do [ ! -e $path ]; done
    fails systemctl is-active dmiod.service
    fails ls /etc/systemd/system/*.wants/dmiod*
    legs_equal
    dpkg -i /host/dmiod.deb
    systemctl is-active dmiod.service
    dmio create again --mirror /dev/ubdb /dev/ubdc --assume-clean --force >/dev/null
    dmio attach again; mount /dev/nbd0 /mnt; grep kept /mnt/file
    dmio status again | grep -o '/dev/nbd0 on /mnt'
    umount /mnt
    journalctl MESSAGE_ID=6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a01 -o cat --no-pager | tee /run/ids; [ ! -s /run/ids ]
    printf '#!/bin/sh\\ncat >> /run/told\\n' > /usr/local/sbin/told; chmod +x /usr/local/sbin/told
    printf '[hooks]\\nrun = ["/usr/local/sbin/told"]\\nevents = ["leg-failed"]\\n' >> /etc/dmiod/dmiod.toml
    systemctl restart dmiod
    dmio leg fail again 1
    until [ -s /run/told ]; do sleep 0.2; done
    grep '"kind":"leg-failed"' /run/told
    journalctl MESSAGE_ID=6f2f8f2d4b5d4a0d9c5d3f0c8f6b1a01 DMIOD_DEVICE=again -o cat --no-pager | grep failed
    dmio detach again
  `);
  expect(console).not.toContain('FAILED');
  expect(code).toBe(0);
});
