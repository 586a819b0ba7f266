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
mkdir /host /changes /merged
mount -t 9p -o "ro,cache=loose,$options" host /host || poweroff -f
mount -t tmpfs tmpfs /changes || poweroff -f
mkdir /changes/files /changes/work
mount -t overlay -o lowerdir=/host,upperdir=/changes/files,workdir=/changes/work overlay /merged || poweroff -f

mount -t proc proc /merged/proc
mount -t sysfs sysfs /merged/sys
mount -t devtmpfs devtmpfs /merged/dev
mkdir -p /merged/dev/pts /merged/dev/shm /merged/lib/modules
mount -t devpts devpts /merged/dev/pts
mount -t tmpfs tmpfs /merged/dev/shm
mount -t tmpfs -o mode=755 tmpfs /merged/run
mkdir /merged/run/vm
mount -t 9p -o "rw,$options" job /merged/run/vm || poweroff -f
# From here on modules are loaded as on any machine: the kernel asks modprobe.
mount -t 9p -o "ro,cache=loose,$options" modules /merged/lib/modules
cp /bin/busybox /merged/run/busybox
exec switch_root /merged /bin/sh /run/vm/start
