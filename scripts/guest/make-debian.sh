#!/bin/sh
# make-debian.sh - the Debian 12 disk of ./run, in $CACHE/debian12: made of Debian's packages by `hanok image build`,
# as root or as a user.  Its serial console is a shell at once; hanok.run= on the kernel command line runs a command,
# as in the small guest (make-guest.sh).  Its kernel lies beside it, so that it starts without boot loader.
set -eu
. "$(dirname -- "$0")/../lib.sh"
own=$TOP/scripts/guest/debian
mkdir -p "$CACHE/debian12"
cd "$CACHE/debian12"
rm -f disk.qcow2 disk.qcow2.* own.qcow2
"${HANOK:-$TOP/build/hanok}" image build debian12 --output "$PWD/disk.qcow2" --size 4G --direct-boot --hostname hanok \
    --package ca-certificates --package curl --package nano \
    --upload "$own/autologin.conf:/etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf" \
    --upload "$own/hanok-run.service:/etc/systemd/system/hanok-run.service" \
    --upload "$own/hanok-run:/usr/local/sbin/hanok-run" \
    --run-command 'systemctl enable hanok-run.service'
touch stamp
