// `npm run install:system` on a machine without the package: it serves, is installed over, goes away.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

it('install:system serves, again over a busy device; uninstall:system refuses, then leaves the data', async () => {
  guest = new Guest('install');
  guest.shareTree();
  const { code, console } = await guest.boot(`
    dpkg --purge dmiod
    mkdir -p /opt/tools
    ln -s /host/node /opt/tools/node
    printf '#!/bin/sh\\nexec /host/node /host/npm/bin/npm-cli.js "$@"\\n' > /opt/tools/npm
    chmod +x /opt/tools/npm
    PATH=/usr/local/bin:$PATH:/opt/tools
    cd /host/tree
    echo INSTALL
    npm run install:system
    [ "$(type -P dmio)" = /usr/local/bin/dmio ]
    pages='share/man/man1/dmio.1 share/man/man8/dmiod.8'
    for path in lib/dmiod/node bin/dmiod $pages share/bash-completion/completions/dmio; do
      [ -s /usr/local/$path ]
    done
    fails systemctl is-active dmiod
    systemctl enable --now dmiod
    grep /usr/local/bin/dmiod /etc/systemd/system/dmiod.service
    dmio create data --mirror /dev/ubdb /dev/ubdc --assume-clean >/dev/null
    systemctl enable --now dmiod-attach@data
    blockdev --getsize64 /dev/nbd0 > /root/size
    mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt; cp -r /usr/lib/systemd /mnt
    echo '# mine' >> /etc/dmiod/dmiod.toml
    echo AGAIN
    npm run install:system >/dev/null
    grep '# mine' /etc/dmiod/dmiod.toml
    systemctl restart dmiod
    sync -f /mnt
    diff -r /usr/lib/systemd /mnt/systemd
    echo UNINSTALL
    refused 1 npm run uninstall:system
    dmio attached | grep /mnt
    umount /mnt
    npm run uninstall:system
    [ ! -e /sys/block/nbd0/pid ]
    hash -r
    fails type -P dmio
    for path in /usr/local/bin/dmiod /usr/local/lib/dmiod /etc/systemd/system/dmiod.service; do [ ! -e $path ]; done
    fails ls /etc/systemd/system/*.wants/dmiod*
    fails systemctl is-active dmiod.service dmiod.socket
    [ -z "$(systemctl list-units --all --no-legend 'dmiod*')" ]
    [ -e /etc/dmiod/dmiod.toml ]
    [ -e /var/lib/dmiod ]
    legs_equal
    e2fsck -fn /dev/ubdb
    echo PURGE
    npm run uninstall:system -- --purge >/dev/null
    for path in /etc/dmiod /var/lib/dmiod /run/dmiod; do [ ! -e $path ]; done
  `);
  expect(console).not.toContain('FAILED');
  expect(console).not.toMatch(/^ {4}at /m);
  expect(code).toBe(0);
});
