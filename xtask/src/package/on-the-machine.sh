# What is tried with the packages on the trial's machine, see trial.sh.

set -eu
cd /tmp

step() { echo "-- $*"; }
fail() {
    echo "trial: $*" >&2
    tail -n 20 /var/log/lvsd.log >&2 2>/dev/null || true
    exit 1
}
expect() { # TEXT PATTERN: the text has the pattern
    printf '%s\n' "$1" | grep -q -e "$2" || fail "'$2' is not in: $1"
}

network() {
    ip link set lo up
    sysctl -qw net.ipv4.ip_forward=1
    for host in client server; do
        ip netns add $host
        ip link add $host type veth peer name eth0 netns $host
        ip link set $host up
        ip -n $host link set eth0 up
        ip -n $host link set lo up
    done
    ip addr add 10.0.1.1/24 dev client
    ip addr add 10.0.2.1/24 dev server
    ip addr add 10.0.1.40/32 dev client
    ip -n client addr add 10.0.1.2/24 dev eth0
    ip -n server addr add 10.0.2.2/24 dev eth0
    ip -n server route add default via 10.0.2.1
    # The tutorial's own service.
    ip addr add 172.16.4.200/24 dev server
}

fetch() { ip netns exec client curl -sS -m 5 http://10.0.1.40/; }

serve() {
    ipvsadm -A -t 10.0.1.40:80 -s rr
    ipvsadm -a -t 10.0.1.40:80 -r 10.0.2.2:80 -m
    tries=50
    until page=$(fetch 2>/dev/null) || [ $tries -eq 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    expect "$page" '^the page$'
}

# Runs a command while a client fetches without a pause; not one fetch may fail.
under_traffic() {
    rm -f stop lost
    (while [ ! -e stop ]; do fetch >/dev/null 2>>lost || :; done) &
    client=$!
    "$@" || fail "$*"
    touch stop
    wait $client
    [ ! -s lost ] || fail "the client lost pages while '$*' ran: $(cat lost)"
}

upgrade() { # COMMAND...: another lvsd serves afterwards, and what was counted is kept
    old=$(cat /run/lvsd.pid)
    before=$(ipvsadm -L -n --stats --exact | awk '$2 == "10.0.1.40:80" {print $3}')
    under_traffic "$@"
    [ "$old" != "$(cat /run/lvsd.pid)" ] || fail "the old lvsd still runs after '$*'"
    after=$(ipvsadm -L -n --stats --exact | awk '$2 == "10.0.1.40:80" {print $3}')
    [ "$after" -gt "$before" ] || fail "connections: $before before, $after after '$*'"
}

tutorial='ipvsadm -A -t 172.16.4.200:80 -s rr
ipvsadm -a -t 172.16.4.200:80 -r 172.16.4.188:80 -m
ipvsadm -a -t 172.16.4.200:80 -r 172.16.4.198:80 -m'

rules() { # FILE COMMAND...: the service loads, saves and clears the tutorial's rules
    file=$1
    shift
    printf '%s\n' "$tutorial" >"$file"
    "$@" start
    expect "$("$@" status)" '172.16.4.198:80'
    ipvsadm -d -t 172.16.4.200:80 -r 172.16.4.188:80
    "$@" save
    expect "$(cat "$file")" '^-a -t 172.16.4.200:80 -r 172.16.4.198:80 -m -w 1$'
    ! grep -q 172.16.4.188 "$file" || fail "what was removed was saved in $file"
    # A connection meets the rules before or those after, and never none.
    printf '%s\n' "$tutorial" '-A -t 10.0.1.40:80 -s rr' '-a -t 10.0.1.40:80 -r 10.0.2.2:80 -m' >"$file"
    "$@" start
    under_traffic "$@" restart
    expect "$(ipvsadm -L -n)" '172.16.4.188:80'
    "$@" stop
    [ "$(ipvsadm -S -n)" = "" ] || fail "rules are in force after stop: $(ipvsadm -S -n)"
    # A file that is wrong changes nothing.
    cp "$file" good
    "$@" start
    # What does not end in -m, -g or -i.
    echo '-a -t 10.0.1.40:80 -r 10.0.2.3:80 -q' >"$file"
    ! "$@" restart 2>/dev/null || fail "a file with an unknown option was loaded"
    cp good "$file"
    "$@" start
}

unit() { # FILE KEY: runs what systemd runs by this line of a unit
    command=$(sed -n "s/^$2=//p" "$1")
    [ -n "$command" ] || fail "$1 has no $2"
    $command || fail "$2 of $1"
}

# The tutorial's rules by the unit, which has no save of its own.
unit_rules() { # UNIT FILE
    printf '%s\n' "$tutorial" >"$2"
    unit "$1" ExecStart
    expect "$(ipvsadm -L -n)" '172.16.4.188:80'
    printf '%s\n' "$tutorial" | grep -v 172.16.4.188 >"$2"
    unit "$1" ExecReload
    ! ipvsadm -L -n | grep -q 172.16.4.188 || fail "a reload kept what the file has no more"
    ipvsadm -E -t 172.16.4.200:80 -s wlc
    unit "$1" ExecStop
    [ "$(ipvsadm -S -n)" = "" ] || fail "rules are in force after $1 was stopped: $(ipvsadm -S -n)"
}

left() { # PATTERN: no file is left, or another than before, but those of the system's own and this
    found=$(cd changes && find . -type f | while read -r file; do
        cmp -s "$file" "/tmp/before/$file" || echo "${file#.}"
    done | grep -v -e '^/var/lib/dpkg/' -e '^/var/log/' -e '^/var/cache/' -e "$1" || true)
    [ -z "$found" ] || fail "left: $found"
}

gone() { # what is left of it in the network and in /run
    [ -z "$(tc filter show dev client ingress)" ] || fail "a filter is left on an interface"
    [ -z "$(find /run/lvsx -type f 2>/dev/null)" ] || fail "left in /run/lvsx: $(find /run/lvsx)"
    [ ! -e /run/lvsd.pid ] || fail "left: /run/lvsd.pid"
    ! fetch >/dev/null 2>&1 || fail "it still forwards"
}

network
# A machine without an init has no runlevel, and then nothing is started.
rm -f /usr/sbin/runlevel
printf '#!/bin/sh\necho N 2\n' >/usr/sbin/runlevel
chmod +x /usr/sbin/runlevel
step "install the .deb"
had_ipvsadm=$(dpkg-query -W -f '${db:Status-Status}' ipvsadm 2>/dev/null || true)
dpkg --install packages/lvsx.deb >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
[ "$(dpkg-query -W -f '${db:Status-Status}' ipvsadm 2>/dev/null || true)" != installed ] || fail "ipvsadm is still installed"
for name in /sbin/ipvsadm /sbin/ipvsadm-save /sbin/ipvsadm-restore /usr/sbin/lvsd /usr/sbin/lvsx-check; do
    [ "$(readlink -f $name)" = /usr/sbin/lvsx ] || fail "$name leads to '$(readlink -f $name)' (ipvsadm was ${had_ipvsadm:-never} installed)"
done
expect "$(lvsx status)" interfaces
cp /usr/sbin/lvsx /tmp/web
ip netns exec server /tmp/web lab web 80 'the page' &

step "units, pages and completions"
units=$(dpkg -L lvsx | grep '^/lib/systemd/system/.*\.')
wrong=$(systemd-analyze verify --man=no $(echo "$units" | sed 's/@\./@x./') 2>&1 | grep lvsx || true)
[ -z "$wrong" ] || fail "$wrong"
# Exposure in tenths: 100 is no protection at all.
for limit in lvsd:40 lvsx-check:40 lvsx-agent:20 ipvsadm:60 lvsx-realserver@x:65; do
    systemd-analyze security --offline=yes --threshold="${limit#*:}" "/lib/systemd/system/$(echo "${limit%:*}" | sed 's/@x/@/').service" >security.log 2>&1 ||
        fail "${limit%:*}: $(tail -n 1 security.log)"
done
for page in $(dpkg -L lvsx | grep '/man[58]/.*gz$'); do
    wrong=$(gzip -dc "$page" | mandoc -T lint -W warning 2>&1 | grep -v 'missing date' || true)
    [ -z "$wrong" ] || fail "$page: $wrong"
done
completions=/usr/share/bash-completion/completions
for program in $(ls $completions | grep -e lvs -e ipvsadm); do
    bash -c ". $completions/$program && complete -p $program" >/dev/null || fail "bash does not complete $program"
    zsh -fc "autoload -U compinit && compinit -u -d /tmp/zcompdump && [[ \$_comps[$program] == _$program ]] && autoload +X _$program" ||
        fail "zsh does not complete $program"
done
expect "$(fish -c 'complete -C "lvsx realser"')" '^realserver'
expect "$(fish -c 'complete -C "lvsx run --super"')" '^--supervise'
for text in README.md README.zh-CN.md; do
    for link in $(grep -o ']([A-Za-z][^):]*)' /usr/share/doc/lvsx/$text | sed 's/](\(.*\))/\1/'); do
        [ -e "/usr/share/doc/lvsx/$link" ] || fail "$text leads to $link, which is not installed"
    done
done

step "the service ipvsadm of Debian"
sed -i 's/AUTO="false"/AUTO="true"/' /etc/default/ipvsadm
rules /etc/ipvsadm.rules service ipvsadm
service ipvsadm stop
unit_rules /lib/systemd/system/ipvsadm.service /etc/ipvsadm.rules
! grep -q wlc /etc/ipvsadm.rules || fail "a stop wrote to the file of Debian"

step "upgrade while a client fetches"
# Programs that `lvsx run` carries need a file of their own.
lvsx run -- true
serve
upgrade dpkg --install packages/lvsx.deb
ipvsadm -C
serve
step "remove, and purge"
service ipvsadm save
dpkg --remove lvsx >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
gone
dpkg --purge lvsx >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
gone
rm /usr/sbin/runlevel
# The backups of the lists of users are the system's own.
left '^/etc/\(ipvsadm.rules\|\(passwd\|group\|shadow\|gshadow\|subuid\|subgid\)-\|.pwd.lock\)$'
! getent passwd lvsx-check lvsx-script || fail "users are left"
expect "$(cat /etc/ipvsadm.rules)" '-A -t 10.0.1.40:80'

step "install and upgrade the .rpm"
rpm_in() { rpm --dbpath /tmp/rpm --force-debian --nodeps "$@" packages/lvsx.rpm; }
expect "$(rpm --dbpath /tmp/rpm -qp --provides packages/lvsx.rpm)" '^ipvsadm = 1.31'
expect "$(rpm --dbpath /tmp/rpm -qp --conflicts packages/lvsx.rpm)" '^ipvsadm'
rpm_in --install
/etc/init.d/lvsd start
serve
upgrade rpm_in --upgrade --replacepkgs
step "the service ipvsadm of Red Hat"
ipvsadm -C
rules /etc/sysconfig/ipvsadm /etc/init.d/ipvsadm
# It saves at a stop, also by the unit.
ipvsadm -d -t 172.16.4.200:80 -r 172.16.4.188:80
/etc/init.d/ipvsadm stop
! grep -q 172.16.4.188 /etc/sysconfig/ipvsadm || fail "a stop did not save"
unit_rules /usr/lib/systemd/system/ipvsadm.service /etc/sysconfig/ipvsadm
grep -q wlc /etc/sysconfig/ipvsadm || fail "a stop by the unit did not save"
step "remove the .rpm"
lvsx run -- true
serve
ipvsadm-save -n >/etc/sysconfig/ipvsadm
rpm --dbpath /tmp/rpm --nodeps --erase lvsx
gone
[ -s /etc/sysconfig/ipvsadm ] || fail "the rules are gone"
# Users of packages of this kind stay.
left '^/etc/\(sysconfig/ipvsadm\|ipvsadm.rules\|\(passwd\|group\|shadow\|gshadow\|subuid\|subgid\)-\?\|.pwd.lock\)$'
step "done"
