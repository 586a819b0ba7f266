#!/bin/sh
# Second program of the virtual machine, on the host's own file system: runs the command, leaves its exit code.
# The first serial line is the console, the second carries what the command prints.
stty -F /dev/ttyS1 raw -echo
# A serial line looks like a terminal; what is printed may go to a file all the same.
export TERM=dumb NO_COLOR=1
ip link set lo up
/bin/bash /run/vm/command < /dev/null > /dev/ttyS1 2>&1
echo $? > /run/vm/status
/run/busybox poweroff -f
