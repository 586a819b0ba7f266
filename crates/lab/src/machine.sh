#!/bin/sh
# The first program of user-mode Linux: its root is the host's, read-only; only the job's folder can be written.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/tmp LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/job /run/netns /run/kernel/lib
mount -t hostfs -o JOB none /run/job
ln -s /usr/lib/uml/modules /run/kernel/lib/modules
for module in veth dummy ipip ip6_tunnel sit ip_gre fou fou6 iptable_mangle ip6table_mangle xt_mark xt_tcpudp ip_vs \
    ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_sed ip_vs_nq ip_vs_fo ip_vs_ovf ip_vs_sh ip_vs_mh ip_vs_dh \
    ip_vs_lblc ip_vs_lblcr ip_vs_pe_sip; do
    modprobe -d /run/kernel $module || echo "no module $module"
done
# Errors are sent as often as there is reason to: what limits them is not under test here.
echo 1000000 > /proc/sys/net/ipv4/icmp_msgs_per_sec
echo 1000000 > /proc/sys/net/ipv4/icmp_msgs_burst
ip link set lo up
cd /run
/run/job/program --inside /run/job && touch /run/job/done
halt -f
