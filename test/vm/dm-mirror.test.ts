// A set goes from dmiod to the kernel's dm-mirror and back by its table line and its dirty log: contents and sync state
// agree.
import { readFileSync } from 'node:fs';

import { Guest, type RunningBoot } from './support/guest.ts';
import { acknowledged, found, INSTALL_WRITER } from './support/records.ts';

let guest: Guest;
afterEach(() => guest.remove());

const REGIONS = 768;
/** Where the bits of the log begin, and how long they are. */
const BITS_AT = 1024;

/**
 * /dev/ubdb and, behind device mapper so that it can fail or be slow, /dev/ubdc are the legs, /dev/ubdd is the log.
 *
 * `unclean`: the regions whose bit in the log is not clean; `lack REGION...`: exactly those. `plant REGION`: other
 * bytes there, on the second leg alone, so that what copies the region is seen; `differs REGION...` of all that were
 * planted. `kernel LINE`: dm-mirror takes the set; `shows IN_SYNC/ALL LETTERS`: so it says.
 * Device mapper writes below the page cache of /dev/ubdX, so whoever looks there lets it go first.
 */
const SETTING = `
  modprobe -a dm-mirror dm-delay
  size=$(blockdev --getsz /dev/ubdb)
  dmsetup create leg --table "0 $size linear /dev/ubdc 0"
  leg() { dmsetup suspend leg; dmsetup load leg --table "0 $size $*"; dmsetup resume leg; }
  cat > /root/unclean.pl <<'P'
use strict; local $/; my $log = <STDIN>;
my ($magic, $version, $regions) = unpack('VVQ<', $log);
$magic == 0x4d695272 && $version == 2 && $regions == ${REGIONS} or die "no dirty log of ${REGIONS} regions";
print join(' ', grep { !vec(substr($log, ${BITS_AT}), $_, 1) } 0 .. $regions - 1), "\\n";
P
  unclean() { dd if=/dev/ubdd iflag=direct bs=4096 count=1 status=none | perl /root/unclean.pl; }
  lack() { local now; now=$(unclean); [ "$now" = "$*" ] || { echo "FAILED: not clean are $now, not $*"; exit 1; }; }
  direct() { dd "$@" bs=4096 status=none; }
  plant() {
    direct if=/dev/urandom of=/dev/mapper/leg oflag=direct count=1 seek=$(($1 * 128))
    planted="\${planted:-} $1"
  }
  at() { direct if=$1 iflag=direct count=1 skip=$(($2 * 128)) | sha256sum; }
  differs() {
    local region now=
    for region in $planted; do [ "$(at /dev/ubdb $region)" = "$(at /dev/ubdc $region)" ] || now="$now $region"; done
    [ "$now" = "$(printf ' %s' "$@")" ] || { echo "FAILED: different are$now, not $*"; exit 1; }
    planted=
  }
  fill() {
    local region
    for region in "\${@:2}"; do direct if=/dev/urandom of=$1 oflag=direct count=16 seek=$((region * 128)); done
  }
  drop() { blockdev --flushbufs /dev/ubdb; blockdev --flushbufs /dev/ubdc; }
  line() { dmio table data | sed 's/^data: //'; }
  kernel() { dmsetup create set --table "$1"; }
  shows() { local now; now=$(dmsetup status set); echo "$now"; grep -q " $1 1 $2 3 disk .* A\\$" <<< "$now"; }
  until_shows() { until dmsetup status set | grep -q " $1 1 $2 3 "; do sleep 0.2; done; shows "$1" "$2"; }
  sum() { sha256sum < $1; }
`;

const WHOLE = `${REGIONS}/${REGIONS}`;

it('to dm-mirror and back: contents and sync state agree, and a leg that lacks regions gets just these', async () => {
  guest = new Guest('dm-mirror');
  const { code, console } = await guest.boot(`${SETTING}
    echo 'auto-re-add = false' > /etc/dmiod/dmiod.toml
    systemctl restart dmiod
    dmio create data --mirror /dev/ubdb /dev/mapper/leg --log disk=/dev/ubdd --assume-clean >/dev/null
    attach
    mkfs.ext4 -q /dev/nbd0
    mount /dev/nbd0 /mnt; cp -r /usr/lib/systemd /mnt; umount /mnt
    written=$(sum /dev/nbd0)
    dmio detach data
    line=$(line)
    systemctl stop dmiod.socket dmiod
    lack
    echo "TO THE KERNEL: $line"
    kernel "$line"
    shows ${WHOLE} AA
    [ "$(sum /dev/mapper/set)" = "$written" ]
    e2fsck -fn /dev/mapper/set
    mount /dev/mapper/set /mnt; diff -r /usr/lib/systemd /mnt/systemd; cp -r /usr/lib/udev /mnt; umount /mnt
    written=$(sum /dev/mapper/set)
    shows ${WHOLE} AA
    dmsetup remove set
    lack
    drop; legs_equal
    echo AND BACK
    systemctl start dmiod
    dmio status data --check
    dmio status data --dm | grep ' ${WHOLE} 1 AA 3 disk /dev/ubdd A'
    attach
    [ "$(sum /dev/nbd0)" = "$written" ]
    mount /dev/nbd0 /mnt; diff -r /usr/lib/udev /mnt/udev; umount /mnt

    echo THE DAEMON LOSES A LEG
    until [ -z "$(unclean)" ]; do sleep 0.5; done
    leg error
    fill /dev/nbd0 400 402
    refused 10 dmio status data --check
    dmio status data --dm
    written=$(sum /dev/nbd0)
    dmio detach data
    systemctl stop dmiod.socket dmiod
    lack 400 402
    kernel "$line"
    # It finds the same two, and cannot copy them yet.
    until_shows ${REGIONS - 2}/${REGIONS} AS
    [ "$(sum /dev/mapper/set)" = "$written" ]
    dmsetup remove set
    lack 400 402
    leg linear /dev/ubdc 0
    plant 401; plant 402; plant 500
    kernel "$line"
    until_shows ${WHOLE} AA
    dmsetup remove set
    lack
    differs 401 500

    echo THE KERNEL LOSES A LEG
    systemctl start dmiod
    # By its record the daemon does not believe the leg, whatever the log says.
    dmio status data --dm | tee /run/status
    fails grep ' ${WHOLE} ' /run/status
    dmio leg re-add data 1
    dmio wait data --in-sync --timeout 600
    dmio remove data
    lack
    drop; legs_equal
    # Without keep_log dm-mirror holds a write that misses a leg, for ever.
    kept=$(sed 's/1 handle_errors/2 handle_errors keep_log/' <<< "$line")
    kernel "$kept"
    shows ${WHOLE} AA
    leg error
    fill /dev/mapper/set 600 602
    shows ${REGIONS - 2}/${REGIONS} AD
    written=$(sum /dev/mapper/set)
    kept=$(dmsetup table set)
    grep ' 98:16 0 ' <<< "$kept"
    dmsetup remove set
    lack 600 602
    leg linear /dev/ubdc 0
    plant 601; plant 602; plant 700
    # Slow, so that the daemon is seen before it has copied anything.
    leg delay /dev/ubdc 0 0 /dev/ubdc 0 600000
    dmio create data --table "$kept" --leg-timeout 0 --force >/dev/null
    dmio status data --dm | tee /run/status
    grep ' ${REGIONS - 2}/${REGIONS} 1 AA ' /run/status
    dmio table data | grep ' /dev/ubdb 0 /dev/mapper/leg 0 '
    leg linear /dev/ubdc 0
    dmio wait data --in-sync --timeout 600
    attach
    [ "$(sum /dev/nbd0)" = "$written" ]
    dmio detach data
    dmio remove data
    lack
    differs 601 700
  `);
  expect(console).not.toContain('FAILED');
  expect(code).toBe(0);
});

/** Regions that are not clean in the log as the host has it. */
function uncleanNow(): number {
  const bits = readFileSync(guest.disk('log')).subarray(BITS_AT, BITS_AT + REGIONS / 8);
  return bits.reduce((count, byte) => count + 8 - (byte.toString(2).match(/1/g) ?? []).length, 0);
}

/** Pulls the plug under the writer while the log says that something is being written; the records it has told of. */
async function cutUnder(boot: RunningBoot): Promise<number> {
  await boot.until(/ACK [1-9]\d+/);
  while (uncleanNow() === 0) await new Promise((on) => setTimeout(on, 5));
  await boot.powerOff();
  return acknowledged(boot.console);
}

it('the plug pulled under either: the other settles what the log says, nothing fsynced is missing', async () => {
  guest = new Guest('dm-mirror-cut');
  const first = guest.start(`${SETTING}${INSTALL_WRITER}
    dmio create data --mirror /dev/ubdb /dev/mapper/leg --log disk=/dev/ubdd --leg-timeout 0 --assume-clean >/dev/null
    attach
    mkfs.ext4 -q /dev/nbd0
    line | sed 's/1 handle_errors/2 handle_errors keep_log/' > /root/line
    systemctl disable dmiod.socket dmiod
    sync
    mount /dev/nbd0 /srv
    perl /root/writer.pl`);
  const toDaemon = await cutUnder(first);

  const second = guest.start(`${SETTING}
    fails systemctl is-active dmiod
    echo "CUT UNDER THE DAEMON: not clean are $(unclean)"
    count=$(unclean | wc -w)
    [ $count -gt 0 ]
    leg error
    kernel "$(cat /root/line)"
    until_shows $((${REGIONS} - count))/${REGIONS} AS
    dmsetup remove set
    [ $(unclean | wc -w) = $count ]
    leg linear /dev/ubdc 0
    kernel "$(cat /root/line)"
    until_shows ${WHOLE} AA
    dmsetup remove set
    lack
    drop; legs_equal
    echo UNDER THE KERNEL
    # Each write takes a while on one leg, so that something is always under way.
    leg delay /dev/ubdc 0 0 /dev/ubdc 0 100
    kernel "$(cat /root/line)"
    mount /dev/mapper/set /srv
    perl /root/writer.pl`);
  const toKernel = await cutUnder(second);
  expect(found(second.console)).toBeGreaterThanOrEqual(toDaemon);

  const third = await guest.boot(`${SETTING}
    echo "CUT UNDER THE KERNEL: not clean are $(unclean)"
    count=$(unclean | wc -w)
    [ $count -gt 0 ]
    for region in $(unclean) 700; do plant $region; done
    # Writes of that leg take their time: the daemon is seen before it has settled anything.
    leg delay /dev/ubdc 0 0 /dev/ubdc 0 600000
    systemctl start dmiod
    dmio status data --dm | tee /run/status
    grep " $((${REGIONS} - count))/${REGIONS} 1 AA " /run/status
    leg linear /dev/ubdc 0
    dmio wait data --in-sync --timeout 600
    differs 700
    attach
    mount /dev/nbd0 /srv
    perl /root/writer.pl check
    umount /srv
    e2fsck -fn /dev/nbd0
    dmio detach data
    systemctl stop dmiod.socket dmiod
    lack
    direct if=/dev/ubdb of=/dev/ubdc oflag=direct count=1 skip=$((700 * 128)) seek=$((700 * 128)) conv=notrunc
    drop; legs_equal`);
  expect(third.console).not.toContain('FAILED');
  expect(third.code).toBe(0);
  expect(found(third.console)).toBeGreaterThanOrEqual(Math.max(toDaemon, toKernel));
  process.stdout.write(`records: ${toDaemon} under the daemon, ${toKernel} in all\n`);
});
