// Real file systems on a real kernel: made, used, verified, checked; with all legs and with one.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

const FIO = `fio --name=x --directory=/mnt --size=40M --bsrange=512-128k --bs_unaligned=0 --rw=randwrite --ioengine=libaio \\
  --iodepth=16 --direct=1 --end_fsync=1 --verify=crc32c --verify_fatal=1 --output=/run/fio.out`;

it('ext4 and xfs: fio verify, unmount, fsck clean, legs identical', async () => {
  guest = new Guest('file-systems');
  const { code, console } = await guest.boot(`
    dmio create data --mirror /dev/ubdb /dev/ubdc --assume-clean >/dev/null
    dmio attach data
    mkfs.ext4 -q /dev/nbd0
    mount /dev/nbd0 /mnt; ${FIO}; fstrim -v /mnt; umount /mnt
    e2fsck -fn /dev/nbd0
    mkfs.xfs -q -f /dev/nbd0
    mount /dev/nbd0 /mnt; ${FIO}; cp -r /usr/bin /mnt; umount /mnt
    xfs_repair -n /dev/nbd0
    mount /dev/nbd0 /mnt; diff -r --no-dereference /usr/bin /mnt/bin; umount /mnt
    dmio detach data
    cmp /dev/ubdb /dev/ubdc
  `);
  expect(console).not.toContain('FAILED');
  expect(code).toBe(0);
});

it('a leg that dies while mounted is dropped; the other serves, and nothing is lost', async () => {
  guest = new Guest('leg-lost');
  const { code, console } = await guest.boot(`
    modprobe dm-mod
    size=$(blockdev --getsz /dev/ubdc)
    dmsetup create leg --table "0 $size linear /dev/ubdc 0"
    dmio create data --mirror /dev/ubdb /dev/mapper/leg --assume-clean >/dev/null
    dmio attach data
    mkfs.ext4 -q /dev/nbd0
    mount /dev/nbd0 /mnt; cp -r /usr/lib/systemd /mnt; sync
    dmsetup suspend leg; dmsetup load leg --table "0 $size error"; dmsetup resume leg
    ${FIO}
    dmio status data
    refused 10 dmio status data --check
    diff -r /usr/lib/systemd /mnt/systemd
    umount /mnt
    e2fsck -fn /dev/nbd0
    ! dmesg | grep 'nbd0.*I/O error'
    dmio detach data
    systemctl restart dmiod
    dmio status data --json | grep '"state":"degraded"'
  `);
  expect(console).toMatch(/data {2}mirror \[UF\]/);
  expect(console).not.toContain('FAILED');
  expect(code).toBe(0);
});
