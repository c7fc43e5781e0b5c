#!/bin/bash
# build.sh DIR: a Debian 12 guest for user-mode-linux, as root. Leaves DIR/uml (kernel and modules) and DIR/root.img
# (ext4; systemd as PID 1, nbd.ko, nbd-client, fio, ...). Needs mmdebstrap, e2fsprogs, kmod, and a Debian mirror: the one
# this machine's apt has, if any, or Debian's own. How old its lists are does not matter. About 60 s and 1 GiB.
set -eu
guest=$(realpath -m "$1")
work=$guest.new
rm -rf "$work" && mkdir -p "$work" && cd "$work"
root=$work/rootfs
packages=systemd-sysv,udev,dbus,kmod,e2fsprogs,xfsprogs,nbd-client,fio,util-linux,mount,procps,dmsetup,init-system-helpers,libstdc++6,libgcc-s1,psmisc,fdisk,nbdkit

known=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | sed -n 's/ bookworm main$//p' | sed q)
mirror=${known:-http://deb.debian.org/debian}
# The kernel is fetched by the new system's own apt: its lists are of today.
mmdebstrap --quiet --variant=minbase --include=$packages --mode=root \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "5"' \
  --customize-hook='cd "$1/tmp" && chroot "$1" sh -c "cd /tmp && apt-get download -qq user-mode-linux" && dpkg -x user-mode-linux_*.deb '"$work/uml && rm user-mode-linux_*.deb" \
  bookworm "$root" "deb $mirror bookworm main" "deb $mirror bookworm-updates main"

# Of the modules, what block devices and file systems need.
version=$(ls uml/usr/lib/uml/modules)
modules=$root/lib/modules/$version
mkdir -p "$modules/kernel"
(cd "uml/usr/lib/uml/modules/$version" && cp modules.builtin* modules.order "$modules/" && cd kernel &&
  for path in drivers/block drivers/md fs/xfs fs/ext4 fs/jbd2 lib crypto; do [ ! -e $path ] || cp -r --parents $path "$modules/kernel/"; done)
depmod -b "$root" "$version"

echo guest > "$root/etc/hostname"
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
: > "$root/etc/fstab"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/passwd"
mkdir -p "$root/host" "$root/mnt"

cat > "$root/usr/local/sbin/guest-run" <<'G'
#!/bin/bash
# The host's job: /host/job.sh, its exit code to /host/rc. With /host/orderly the machine is then shut down as by its owner.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mountpoint -q /host || mount -t hostfs none /host -o "$(sed -n 's/.*\bguest\.share=\([^ ]*\).*/\1/p' /proc/cmdline)"
cd /host
bash ./job.sh
rc=$?
echo "GUEST-RC=$rc uptime=$(cut -d' ' -f1 /proc/uptime)"
echo $rc > /host/rc
cd /
if [ -e /host/orderly ]; then exec systemctl --no-block poweroff; fi
sync -f /host
systemctl poweroff -ff
G
chmod +x "$root/usr/local/sbin/guest-run"
cat > "$root/etc/systemd/system/guest-run.service" <<'G'
[Unit]
Description=run the host's job
After=multi-user.target remote-fs.target
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/guest-run
StandardOutput=journal+console
StandardError=inherit
TimeoutStartSec=infinity
OOMScoreAdjust=-900
G
printf '[Unit]\nDescription=guest test target\nRequires=multi-user.target\nWants=guest-run.service\nAfter=multi-user.target\nAllowIsolate=yes\n' > "$root/etc/systemd/system/guest.target"
# What takes time and is not tested.
for unit in systemd-timesyncd systemd-update-utmp systemd-random-seed systemd-logind systemd-pstore systemd-binfmt systemd-machine-id-commit systemd-firstboot systemd-hwdb-update nbd-client lvm2-monitor e2scrub_reap systemd-udev-trigger systemd-sysusers getty@tty1 console-getty systemd-journal-flush systemd-ask-password-console; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit.service"; done
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer getty.target dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-mqueue.mount systemd-tmpfiles-clean.timer; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' > "$root/etc/systemd/journald.conf.d/test.conf"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

truncate -s 2G root.img
mke2fs -q -t ext4 -d "$root" root.img
rm -rf rootfs
cd / && rm -rf "$guest" && mv "$work" "$guest"
