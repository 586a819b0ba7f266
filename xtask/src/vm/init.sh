#!/bin/sh
# First program of the virtual machine, in its boot archive, under busybox: makes the host's file system this
# machine's own, writable but thrown away at the end, and goes on there.
/bin/busybox --install -s /bin
mount -t proc proc /proc
while read -r module; do
    insmod "/modules/$module" || echo "vm: no module $module"
done < /modules/list
umount /proc

# The host's files from below, this machine's changes above, in memory.
options=trans=virtio,version=9p2000.L,msize=512000
mkdir /host /changes /root
mount -t 9p -o "ro,cache=loose,$options" host /host || poweroff -f
mount -t tmpfs tmpfs /changes || poweroff -f
mkdir /changes/files /changes/work
mount -t overlay -o lowerdir=/host,upperdir=/changes/files,workdir=/changes/work overlay /root || poweroff -f

mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/pts /root/dev/shm /root/lib/modules
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir /root/run/vm
mount -t 9p -o "rw,$options" job /root/run/vm || poweroff -f
# From here on modules are loaded as on any machine: the kernel asks modprobe.
mount -t 9p -o "ro,cache=loose,$options" modules /root/lib/modules
cp /bin/busybox /root/run/busybox
exec switch_root /root /bin/sh /run/vm/start
