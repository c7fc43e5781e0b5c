// The daemon serves the page cache of the machine it runs on, and memory for dirty pages runs out.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

/** Looks, 5 s of the guest's time apart, at which nothing of what is under way has ended. */
const STILL = 12;

interface Legs {
  readonly a: string;
  readonly b: string;
}

const FILES: Legs = { a: '/var/legs/a', b: '/var/legs/b' };
/** The daemon goes around the page cache: `cache=none` is the default of block devices. */
const DISKS: Legs = { a: '/dev/ubdb', b: '/dev/ubdc' };
const LEG_BYTES = 600 * 2 ** 20;

/**
 * Twice the machine's memory is dirtied above the legs, by 64 writers at once. No
 * more than 4 MiB may be dirty before those who make more have to wait, so that what waits for the daemon alone is
 * above the limit, and a daemon that has to wait like everybody waits for itself. The console hears of progress only.
 */
const job = (prepare: string, { a, b } = FILES): string => `
  ${prepare}
  systemctl restart dmiod
  mkdir -p /var/legs
  dmio create data --mirror ${a} ${b} --size ${LEG_BYTES} --assume-clean >/dev/null
  attach
  mkfs.ext4 -q /dev/nbd0
  mount /dev/nbd0 /mnt
  echo 2097152 > /proc/sys/vm/dirty_background_bytes
  echo 4194304 > /proc/sys/vm/dirty_bytes
  (last= same=0
  while sleep 5; do
    look=$(grep -w nbd0 /proc/diskstats | tr -s ' ' | cut -d' ' -f 9,11)
    if [ "$look" = "$last" ]; then same=$((same + 1)); else same=0; echo "LOOK $look"; fi
    [ $same != ${STILL} ] || {
      memory=$(grep -E '^(Dirty|Writeback|MemAvailable):' /proc/meminfo | tr -s ' \\n' ' ')
      echo "STILL $look: $memory"
    }
    last=$look
  done > /dev/console) & look=$!
  echo DIRTYING > /dev/console
  fio --name=w --directory=/mnt --thread --numjobs=64 --size=7M --bs=128k --rw=write --ioengine=psync \\
    --end_fsync=1 --output=/run/fio.out
  echo WRITTEN > /dev/console
  kill $look
  umount /mnt
  e2fsck -fn /dev/nbd0
  dmio detach data
  legs_equal ${a} ${b}`;

/** Threads of the C library write, instead of io_uring. */
const NODE_ENGINE = `
  sed -i 's/^#engine.*/engine = "node"/' /etc/dmiod/dmiod.toml
  grep '^engine = "node"' /etc/dmiod/dmiod.toml`;

const MEMORY = { memory: '224M' };

it.each([
  ['memory', 'buffered legs in files', job('')],
  ['memory-node', 'buffered legs in files, the node engine', job(NODE_ENGINE)],
  ['memory-direct', 'direct legs', job('', DISKS)],
  ['memory-direct-node', 'direct legs, the node engine', job(NODE_ENGINE, DISKS)],
])(
  '%s: 448 MB through ext4 on %s, with 224 MB of memory: it ends, legs identical',
  async (name, _, script) => {
    guest = new Guest(name, LEG_BYTES);
    const { code, console } = await guest.boot(script, MEMORY);
    expect(console).toContain('WRITTEN');
    expect(code).toBe(0);
  },
);

/** By hand: how often the same without the flag stands still for good (README.md has what was seen). */
const ATTEMPTS = Number(process.env['DMIOD_VM_CONTROL'] ?? 0);

/** The mark of a daemon that has been started anew already, and was refused the flag. */
const WITHOUT_FLAG = `
  mkdir -p /run/systemd/system/dmiod.service.d
  printf '[Service]\\nEnvironment=DMIOD_IO_FLUSHER=0\\n' > /run/systemd/system/dmiod.service.d/control.conf
  systemctl daemon-reload`;

const control = async (_: string, prepare: string): Promise<void> => {
  let stoodStill = 0;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    guest = new Guest('memory-control');
    const boot = guest.start(job(`${prepare}${WITHOUT_FLAG}`), MEMORY);
    await boot.until(/STILL|WRITTEN|FAILED/);
    if (boot.console.includes('STILL')) stoodStill += 1;
    process.stdout.write(`${/STILL.*|WRITTEN|FAILED.*/.exec(boot.console)?.[0] ?? ''}\n`);
    await guest.remove();
  }
  process.stdout.write(`stood still: ${stoodStill} of ${ATTEMPTS}\n`);
  expect(stoodStill).toBeGreaterThan(0);
};

if (ATTEMPTS > 0) {
  it.each([
    ['node engine', `${NODE_ENGINE}\n`],
    ['default engine', ''],
  ])('control, %s: without PR_SET_IO_FLUSHER the same stands still', control);
}
