// The daemon serves the page cache of the machine it runs on, and memory runs out.
import { Guest } from './support/guest.ts';

let guest: Guest;
afterEach(() => guest.remove());

/** Legs in files of the guest's own file system, and several times its memory dirtied above them. */
const job = (prepare: string): string => `
  ${prepare}
  mkdir -p /var/legs
  dmio create data --mirror /var/legs/a /var/legs/b --size 600M --assume-clean >/dev/null
  dmio attach data
  mkfs.ext4 -q /dev/nbd0
  mount /dev/nbd0 /mnt
  echo DIRTYING > /dev/console
  dd if=/dev/zero of=/mnt/big bs=1M count=450 conv=fsync
  umount /mnt
  e2fsck -fn /dev/nbd0
  dmio detach data
  cmp /var/legs/a /var/legs/b`;

it('450 MB through ext4 on legs in files, with 224 MB of memory: it ends, legs identical', async () => {
  guest = new Guest('memory');
  const { code } = await guest.boot(job('systemctl start dmiod'), { memory: '224M' });
  expect(code).toBe(0);
});
