// A device becomes a block device of a real kernel, is used, and goes away again.
import { Guest } from './support/guest.ts';

const MIB = 2 ** 20;

let guest: Guest;
afterEach(() => guest.remove());

const CREATE = 'dmio create data --mirror /dev/ubdb /dev/ubdc --assume-clean >/dev/null';

it('attach, mkfs, mount, use, detach; without module, client, rights: the words, the codes, the device', async () => {
  guest = new Guest('attach');
  const { code, console } = await guest.boot(`
    systemctl start dmiod
    ${CREATE}
    [ "$(dmio attach data)" = /dev/nbd0 ]
    blockdev --getsize64 /dev/nbd0 > /root/size
    dmio status data --json | grep -q "\\"name\\":\\"data\\",\\"sizeBytes\\":$(cat /root/size),"
    [ "$(cat /sys/block/nbd0/queue/logical_block_size)" = 512 ]
    dmio status data --json | grep -q '"attached":\\["/dev/nbd0"\\]'
    refused 5 dmio attach data
    refused 4 dmio attach nothing
    refused 4 dmio detach /dev/nbd7
    refused 4 dmio detach nothing
    refused 2 dmio attach data /dev/sda
    mkfs.ext4 -q /dev/nbd0
    mount /dev/nbd0 /mnt
    cp -r /usr/lib/systemd /mnt/
    dmio attached
    dmio status data
    refused 5 dmio detach data
    refused 5 dmio remove data
    diff -r /usr/lib/systemd /mnt/systemd
    umount /mnt
    e2fsck -fn /dev/nbd0
    dmio detach data
    [ ! -e /sys/block/nbd0/pid ]
    dmio status data --json | grep -q '"attached":\\[\\]'
    legs_equal
    dmio attach data /dev/nbd3 --connections 2
    mount /dev/nbd3 /mnt && umount /mnt
    nbd-client -d /dev/nbd3
    dmio attached
    nbd-client -unix /run/dmiod/nbd.sock -N data /dev/nbd2
    dmio attached
    dmio attached --json | grep '"byHand":true'
    refused 5 dmio attach data
    refused 5 dmio detach data
    refused 5 dmio detach /dev/nbd2
    nbd-client -d /dev/nbd2
    dmio attach data
    mkswap /dev/nbd0 >/dev/null
    swapon /dev/nbd0
    refused 5 dmio detach data
    swapoff /dev/nbd0
    dmio detach data
    dmio doctor
    echo WITHOUT THE MODULE
    rmmod nbd
    refused 1 dmio attach data
    dmio doctor --json > /run/doctor; grep -o '"nbd module","verdict":"warn"' /run/doctor
    modprobe nbd
    echo WITHOUT THE CLIENT
    client=$(type -P nbd-client)
    mv $client /root/
    refused 1 dmio attach data
    dmio doctor --json > /run/doctor; grep -o '"nbd-client","verdict":"bad"' /run/doctor
    mv /root/nbd-client $client
    echo WITHOUT RIGHTS
    mkdir -p /run/systemd/system/dmiod.service.d
    printf '[Service]\\nCapabilityBoundingSet=~CAP_SYS_ADMIN\\n' > /run/systemd/system/dmiod.service.d/rights.conf
    systemctl daemon-reload; systemctl restart dmiod
    refused 1 dmio attach data
    rm /run/systemd/system/dmiod.service.d/rights.conf
    systemctl daemon-reload; systemctl restart dmiod
    dmio attach data
    dmio detach data
    dmio remove data
  `);
  expect(console).toMatch(/WITHOUT THE MODULE[^]*the kernel has no nbd: "modprobe nbd" loads/);
  expect(console).toMatch(/WITHOUT THE CLIENT[^]*nbd-client is not installed: apt-get install/);
  expect(console).toMatch(/WITHOUT RIGHTS[^]*this needs CAP_SYS_ADMIN: run dmiod as root/);
  expect(console).toContain('dmio: /dev/nbd0 is mounted on /mnt');
  expect(console).toMatch(/\/dev\/nbd2 +data \(by hand\)/);
  expect(console).toContain('by hand: nbd-client -d /dev/nbd2 detaches it');
  expect(console).toContain('dmio: /dev/nbd0 is swap on /dev/nbd0');
  expect(console).toMatch(/attached as \/dev\/nbd0 on \/mnt/);
  expect(console).toContain('nothing is attached');
  expect(console).toMatch(/ok +memory flushing/);
  expect(code).toBe(0);
});

it('grows while it is mounted: the kernel hears of it, the file system takes it, a restart keeps it', async () => {
  guest = new Guest('grow');
  const { code } = await guest.boot(`
    systemctl start dmiod
    truncate -s 32M /srv/a.img /srv/b.img
    dmio create data --mirror /srv/a.img /srv/b.img --assume-clean >/dev/null
    [ "$(dmio attach data)" = /dev/nbd0 ]
    mkfs.ext4 -q /dev/nbd0
    mount /dev/nbd0 /mnt
    cp /usr/bin/bash /mnt/
    truncate -s 64M /srv/a.img /srv/b.img
    [ "$(blockdev --getsize64 /dev/nbd0)" = ${32 * MIB} ]
    dmio resize data
    [ "$(blockdev --getsize64 /dev/nbd0)" = ${64 * MIB} ]
    dmio attached --json | grep '"sizeBytes":${64 * MIB}'
    resize2fs /dev/nbd0
    dd if=/dev/urandom of=/mnt/filler bs=1M count=44 conv=fsync status=none
    systemctl restart dmiod
    [ "$(blockdev --getsize64 /dev/nbd0)" = ${64 * MIB} ]
    echo 3 > /proc/sys/vm/drop_caches
    cmp /usr/bin/bash /mnt/bash
    sha256sum /mnt/filler > /run/sum
    umount /mnt
    e2fsck -fn /dev/nbd0
    mount /dev/nbd0 /mnt
    sha256sum -c /run/sum
    umount /mnt
    dmio detach data
    cmp /srv/a.img /srv/b.img
    dmio remove data
  `);
  expect(code).toBe(0);
});
