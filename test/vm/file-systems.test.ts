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
    attach
    mkfs.ext4 -q /dev/nbd0
    mount /dev/nbd0 /mnt; ${FIO}; fstrim -v /mnt; umount /mnt
    e2fsck -fn /dev/nbd0
    mkfs.xfs -q -f /dev/nbd0
    mount /dev/nbd0 /mnt; ${FIO}; cp -r /usr/bin /mnt; umount /mnt
    xfs_repair -n /dev/nbd0
    mount /dev/nbd0 /mnt; diff -r --no-dereference /usr/bin /mnt/bin; umount /mnt
    dmio detach data
    legs_equal
  `);
  expect(console).not.toContain('FAILED');
  expect(code).toBe(0);
});

/**
 * The second leg behind device mapper, so that it can be made to fail: `leg TARGET ARGS` is its table.
 * `returning true|false`: whether the daemon takes it in again by itself.
 */
const BREAKABLE = `
  modprobe dm-mod
  size=$(blockdev --getsz /dev/ubdc)
  leg() { dmsetup suspend leg; dmsetup load leg --table "0 $size $*"; dmsetup resume leg; }
  is() { dmio status data --json > /run/status; grep -o '"state":"'$1'"' /run/status || { cat /run/status; return 1; }; }
  returning() {
    printf 're-add-delay = 2\nauto-re-add = %s\n' $1 > /etc/dmiod/dmiod.toml
    systemctl restart dmiod
  }
  create() { dmio create data --mirror /dev/ubdb /dev/mapper/leg --assume-clean "$@" >/dev/null; attach; }
  finish() {
    dmio wait data --in-sync --timeout 600
    umount /mnt
    e2fsck -fn /dev/nbd0
    dmesg > /run/dmesg; fails grep 'nbd0.*I/O error' /run/dmesg
    dmio status data --check
    dmio detach data
    legs_equal /dev/ubdb /dev/mapper/leg
  }
  dmsetup create leg --table "0 $size linear /dev/ubdc 0"`;

it('a leg lost while mounted, and back: by hand, then by itself; nothing is lost', async () => {
  guest = new Guest('leg-lost');
  const { code, console } = await guest.boot(`${BREAKABLE}
    returning false
    create
    mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt
    cp -r /usr/lib/systemd /mnt; sync
    echo LOST
    leg error
    ${FIO}
    dmio status data
    is degraded
    refused 10 dmio status data --check
    diff -r /usr/lib/systemd /mnt/systemd
    systemctl restart dmiod
    is degraded
    echo BACK BY HAND
    leg linear /dev/ubdc 0
    dmio leg re-add data 1
    dmio wait data --in-sync --timeout 600
    echo LOST AGAIN
    returning true
    leg error
    cp -r /usr/lib/udev /mnt; sync
    is degraded
    leg linear /dev/ubdc 0
    ${FIO}
    dmio wait data --in-sync --timeout 600
    echo BACK BY ITSELF
    diff -r /usr/lib/udev /mnt/udev
    finish`);
  expect(console).toMatch(/data {2}mirror \[UF\]/);
  expect(console).not.toContain('FAILED');
  expect(code).toBe(0);
});

it('dm-flakey under a leg: it comes and goes under fio verify; what it lost silently, scrub finds', async () => {
  guest = new Guest('flakey');
  const { code, console } = await guest.boot(`${BREAKABLE}
    modprobe dm-flakey
    returning true
    create
    mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt
    leg flakey /dev/ubdc 0 2 1
    for i in 1 2 3; do ${FIO}; echo "flakey round $i"; done
    journalctl -u dmiod -o cat --no-pager > /run/flakey; grep -c 'leg failed' /run/flakey
    leg linear /dev/ubdc 0
    # It may be on its way already, or waiting for its next try.
    dmio leg re-add data 1 || true
    finish
    echo DROPPED
    dmio remove data
    create --read-policy prefer=0 --force
    mount /dev/nbd0 /mnt
    leg flakey /dev/ubdc 0 0 600 1 drop_writes
    cp -r /usr/lib/udev /mnt; sync
    leg linear /dev/ubdc 0
    dmio status data --check
    dmio --json scrub data > /run/scrub; fails grep '"mismatchedSectors":0,' /run/scrub
    dmio scrub data --repair --from 0
    dmio --json scrub data > /run/scrub; grep -o '"mismatchedSectors":0,' /run/scrub
    finish`);
  expect(console).not.toContain('FAILED');
  expect(code).toBe(0);
});
