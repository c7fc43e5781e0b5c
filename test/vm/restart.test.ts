// The daemon goes away and comes back under I/O that is verified: it pauses, it does not fail.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

/** fio again and again until /run/stop is there; what it wrote it reads back and compares. */
const load = (log: string): string => `
  systemctl start dmiod
  dmio create data --mirror /dev/ubdb /dev/ubdc --log ${log} --assume-clean >/dev/null
  attach --timeout 2
  echo 0 > /run/fio.rounds
  load() {
    while [ ! -e /run/stop ]; do
      fio --name=x --filename=$1 --ioengine=libaio --direct=1 --rw=randwrite --iodepth=16 --size=24M \\
        --bsrange=512-64k --bs_unaligned=0 \\
        --verify=crc32c --verify_fatal=1 --output-format=terse --output=/run/fio.out || { echo "FIO FAILED: $?"; exit 1; }
      echo $(($(cat /run/fio.rounds) + 1)) > /run/fio.rounds
    done
  }
  finish() {
    sleep 1; touch /run/stop; wait $1
    echo "rounds: $(cat /run/fio.rounds)"
    dmesg > /run/dmesg; fails grep -i 'i/o error' /run/dmesg
    dmio wait data --in-sync --timeout 600
    dmio detach data
    sync; legs_equal
  }
`;

it.each(['core', 'native'])(
  'kill -9 of the daemon 20 times under fio verify, %s log: no I/O error, legs identical',
  async (log) => {
    guest = new Guest(`kill-9-${log}`);
    const { code, console } = await guest.boot(`${load(log)}
    load /dev/nbd0 & fio=$!
    back() {
      pid=$(systemctl show -P MainPID dmiod)
      [ $pid != 0 ] && [ $pid != $old ] &&
        [ "$(journalctl _PID=$pid -o cat | grep -c 'connected again')" != 0 ]
    }
    for i in $(seq 20); do
      old=$(systemctl show -P MainPID dmiod)
      kill -9 $old
      until back; do sleep 0.2; done
      echo "killed $i times, fio round $(cat /run/fio.rounds)"
      sleep 0.7
    done
    finish $fio`);
    expect(console).not.toContain('FAILED');
    expect(code).toBe(0);
  },
);

/** A daemon that stands still is ended by the watchdog, and started anew. */
const FREEZE = `
    mkdir -p /run/systemd/system/dmiod.service.d
    printf '[Service]\\nWatchdogSec=20\\nTimeoutAbortSec=2\\n' > /run/systemd/system/dmiod.service.d/watchdog.conf
    systemctl daemon-reload; systemctl restart dmiod
    old=$(systemctl show -P MainPID dmiod)
    kill -STOP $old
    until pid=$(systemctl show -P MainPID dmiod); [ $pid != 0 ] && [ $pid != $old ]; do sleep 0.5; done
    journalctl -u dmiod -o cat --no-pager > /run/dmiod.log; grep -i 'watchdog timeout' /run/dmiod.log
    rm /run/systemd/system/dmiod.service.d/watchdog.conf
    systemctl daemon-reload; systemctl restart dmiod`;

it('systemctl restart 5 times, a daemon that stands still, and an upgrade of the package likewise', async () => {
  guest = new Guest('restart');
  guest.sharePackage();
  const { code, console } = await guest.boot(`${load('core')}
    mkfs.ext4 -q /dev/nbd0 && mount /dev/nbd0 /mnt
    load /mnt/file & fio=$!
    for i in $(seq 5); do sleep 1; systemctl restart dmiod; echo "restarted $i times"; done
    [ "$(dmio attached --json | grep -o '"connections":1')" = '"connections":1' ]
    sleep 1
    ${FREEZE}
    sleep 1
    dpkg -i /host/dmiod.deb
    sleep 3
    touch /run/stop; wait $fio
    umount /mnt
    e2fsck -fn /dev/nbd0
    finish $fio`);
  expect(console).not.toContain('FAILED');
  expect(console).not.toMatch(/EXT4-fs error|Aborting journal/);
  expect(code).toBe(0);
});
