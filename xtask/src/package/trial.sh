#!/bin/sh
# Installs, upgrades, removes and purges the packages on a machine of its own: this one's root folder with all changes in
# memory, in namespaces of mounts, processes and network that go when this ends.
#
#   trial.sh DEB RPM

set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

machine=/run/lvsx-trial
mkdir -p $machine
mount -t tmpfs -o mode=0755 lvsx-trial $machine
mkdir $machine/changes $machine/work $machine/tree
mount -t overlay -o lowerdir=/,upperdir=$machine/changes,workdir=$machine/work lvsx-trial $machine/tree
for place in proc:proc sys:sysfs run:tmpfs tmp:tmpfs; do
    mount -t "${place#*:}" lvsx-trial "$machine/tree/${place%:*}"
done
mount --rbind /dev $machine/tree/dev
mkdir $machine/tree/tmp/packages $machine/tree/tmp/changes $machine/tree/tmp/before
mount --bind $machine/changes $machine/tree/tmp/changes
mount --bind / $machine/tree/tmp/before
cp "$1" $machine/tree/tmp/packages/lvsx.deb
cp "$2" $machine/tree/tmp/packages/lvsx.rpm
cp "$(dirname "$0")/on-the-machine.sh" $machine/tree/tmp/
# An image of a container may forbid services, and man pages.
rm -f $machine/tree/usr/sbin/policy-rc.d
exec chroot $machine/tree /bin/sh /tmp/on-the-machine.sh
