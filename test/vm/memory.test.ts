// The daemon serves the page cache of the machine it runs on, and memory runs out.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

/** Legs in files of the guest's own file system, and several times its memory dirtied above them. */
const job = (prepare: string): string => `
  ${prepare}
  systemctl restart dmiod
  mkdir -p /var/legs
  dmio create data --mirror /var/legs/a /var/legs/b --size 600M --assume-clean >/dev/null
  dmio attach data
  mkfs.ext4 -q /dev/nbd0
  mount /dev/nbd0 /mnt
  echo DIRTYING > /dev/console
  dd if=/dev/zero of=/mnt/big bs=1M count=450 conv=fsync
  echo WRITTEN > /dev/console
  umount /mnt
  e2fsck -fn /dev/nbd0
  dmio detach data
  cmp /var/legs/a /var/legs/b`;

/** Buffered legs, in threads of the C library: what has stood still without PR_SET_IO_FLUSHER. */
const NODE_ENGINE = `sed -i 's/^#engine.*/engine = "node"/' /etc/dmiod/dmiod.toml; grep '^engine = "node"' /etc/dmiod/dmiod.toml`;

const MEMORY = { memory: '224M' };

it('450 MB through ext4 on legs in files, with 224 MB of memory: it ends, legs identical', async () => {
  guest = new Guest('memory');
  const { code } = await guest.boot(job(''), MEMORY);
  expect(code).toBe(0);
});

it('likewise with the node engine', async () => {
  guest = new Guest('memory-node');
  const { code } = await guest.boot(job(NODE_ENGINE), MEMORY);
  expect(code).toBe(0);
});

const ATTEMPTS = 3;
/** Looks, 5 s of the guest's time apart, at which nothing of what is under way has ended. */
const STILL = 12;

it('control: without PR_SET_IO_FLUSHER the same stands still', async () => {
  // The mark of a daemon that has been started anew already, and was refused the flag.
  const unflagged = `${NODE_ENGINE}
  mkdir -p /run/systemd/system/dmiod.service.d
  printf '[Service]\\nEnvironment=DMIOD_IO_FLUSHER=0\\n' > /run/systemd/system/dmiod.service.d/control.conf
  systemctl daemon-reload
  (while sleep 5; do echo "LOOK $(grep -w nbd0 /proc/diskstats | tr -s ' ' | cut -d' ' -f 9,11,13)"; done > /dev/console) &`;
  let stoodStill = false;
  for (let attempt = 0; attempt < ATTEMPTS && !stoodStill; attempt += 1) {
    guest = new Guest('memory-control');
    const boot = guest.start(job(unflagged), MEMORY);
    await boot.until(/DIRTYING/);
    // Requests ended, sectors written, requests under way: the same at every look, the last not 0.
    const still = new RegExp(
      `(LOOK \\d+ \\d+ [1-9]\\d*\\r?\\n)(?:[^L].*\\n)*(?:\\1(?:[^L].*\\n)*){${STILL - 1}}`,
    );
    await boot.until(new RegExp(`${still.source}|WRITTEN|FAILED`));
    stoodStill = still.test(boot.console);
    await guest.remove();
  }
  expect(stoodStill).toBe(true);
});
