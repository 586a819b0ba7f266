#!/bin/sh
# In user-mode Linux: a real server by IP in IP, and beside it a director and client in one, which wraps.
exec > /run/job/log 2>&1
set -ex
on_server() { ip netns exec server "$@"; }
on_client() { ip netns exec client "$@"; }
realserver() { on_server /run/job/lvsx realserver "$@"; }
state() {
    on_server sh -c "ip -4 addr; ip -4 route show table all; sysctl -a --pattern 'net.ipv4.conf'; ip -br link"
}
wrapped() {
    on_client timeout 20 bash -c 'exec 3<>/dev/tcp/192.168.1.40/80; printf "GET / HTTP/1.0\r\n\r\n" >&3; grep -q "^serverA" <&3'
}
# Up, up again, down; killed, down.
play() {
    state > before
    if wrapped; then exit 1; fi
    realserver up --mode tun --vip 192.168.1.40 > /run/job/up-$1
    realserver check
    realserver up --mode tun --vip 192.168.1.40 > again
    if grep -v 'is so already' again; then exit 1; fi
    wrapped
    on_server ip route get 10.0.0.1 | grep 'advmss 1440'
    on_server /run/job/lvsx doctor
    realserver down
    state | cmp before -
    mkfifo shown
    realserver up --mode tun --vip 192.168.1.40 > shown &
    up=$!
    (head -n 6; kill -9 $up) < shown > /dev/null
    wait $up || true
    rm shown
    realserver down
    state | cmp before -
}
# The namespace has a tunl0 from the start, and it has none.
for without in 0 1; do
    sysctl -qw net.core.fb_tunnels_only_for_init_net=$without
    ip netns add server
    ip netns add client
    ip link add eth0 netns server type veth peer name eth0 netns client
    on_server ip addr add 192.168.1.46/24 dev eth0
    on_client ip addr add 192.168.1.49/24 dev eth0
    on_client ip addr add 10.0.0.1/32 dev lo
    for side in server client; do
        ip -n $side link set lo up
        ip -n $side link set eth0 up
    done
    on_server ip route add default via 192.168.1.49
    on_server /run/job/lvsx lab web 80 serverA &
    web=$!
    on_server sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.all.arp_ignore=0
    on_client ip link add to46 type ipip local 192.168.1.49 remote 192.168.1.46
    on_client ip link set to46 up
    on_client ip route add 192.168.1.40/32 dev to46 src 10.0.0.1
    play $without
    kill $web
    ip netns del server
    ip netns del client
done
echo "as it must be" > /run/job/verdict
