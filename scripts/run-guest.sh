#!/bin/sh
# run-guest.sh [--small] [--command "WORDS"] [--kernel FLAVOUR] [HANOK-VM-OPTION...]
# Boots Debian 12 from a disk that `hanok image build` has made.  On a terminal: a shell on the serial console (leave
# with Ctrl-a x, or poweroff inside).  Without one (./run < /dev/null, CI): runs a command in the guest and exits with
# its status.  --small takes a stock kernel with busybox, which is up in seconds; --kernel names its flavour (cloud).
set -eu
. "$(dirname -- "$0")/lib.sh"
command='uname -a; head -n 3 /proc/meminfo; df -h /; ip -4 addr | grep 10.0.2.15'
flavour=cloud
guest=debian12
interactive=no
[ -t 0 ] && [ -t 1 ] && interactive=yes
while [ $# -gt 0 ]; do
    case $1 in
    --small)
        guest=small
        shift
        ;;
    --command)
        command=${2:?--command needs a text}
        interactive=no
        shift 2
        ;;
    --kernel)
        guest=small
        flavour=${2:?--kernel needs a flavour}
        shift 2
        ;;
    --help)
        sed -n '2,5s/^# //p' "$0"
        exit 0
        ;;
    *) break ;;
    esac
done
vm=${HANOK_VM:-$TOP/build/hanok-vm}

# What the user does to the disk stays; the one that was built is only read.
debian() {
    base=$CACHE/debian12
    if [ ! -f "$base/stamp" ]; then
        sh "$TOP/scripts/packages.sh" image || return 1
        (step "making a Debian 12 disk (once)" sh "$TOP/scripts/guest/make-debian.sh") || return 1
    fi
    disk=$base/own.qcow2
    [ -f "$disk" ] || "$TOP/build/hanok-img" create -q -f qcow2 -F qcow2 -b disk.qcow2 "$disk" || return 1
    format=qcow2
    kernel=$base/disk.qcow2.vmlinuz
    initrd=$base/disk.qcow2.initrd
    append="$(cat "$base/disk.qcow2.cmdline") quiet"
    what="Debian 12"
}

small() {
    base=$CACHE/guest-$flavour
    sh "$TOP/scripts/packages.sh" guest
    sh "$TOP/scripts/guest/prepare.sh" "$flavour"
    disk=$CACHE/run-$flavour.img
    [ -f "$disk" ] || cp --sparse=always "$base/root.img" "$disk"
    format=raw
    kernel=$base/vmlinuz
    initrd=$base/initrd.img
    append="console=ttyS0 root=/dev/vda quiet hanok.net hanok.button"
    what="busybox on Debian $(cat "$CACHE/kernel-$flavour/release")"
}

if [ $guest = debian12 ] && ! debian; then
    printf '  ->  so it is a stock Debian kernel with busybox this time\n' >&2
    guest=small
fi
[ $guest = debian12 ] || small

result=
if [ $interactive = no ]; then
    result=$(mktemp)
    trap 'rm -f "$result"' EXIT
    append="$append hanok.run=$(printf '%s' "$command" | sed 's/ /%20/g')"
else
    printf '  ->  booting %s; the shell comes on this terminal, Ctrl-a x leaves, Ctrl-a h helps\n' "$what" >&2
fi
status=0
"$vm" -machine q35 -m 512 -nodefaults -nographic -no-reboot -name guest=hanok-first \
    -kernel "$kernel" -initrd "$initrd" -append "$append" \
    -chardev stdio,id=con,mux=on,signal=off -serial chardev:con -mon chardev=con \
    -drive "file=$disk,format=$format,if=virtio" \
    -netdev user,id=net0 -device virtio-net-pci,netdev=net0 -device virtio-rng-pci \
    -device virtio-serial-pci ${result:+-chardev "file,id=result,path=$result"} \
    ${result:+-device virtserialport,chardev=result,name=org.hanok.result} "$@" || status=$?
[ -z "$result" ] && exit $status
[ $status = 0 ] || exit $status
answer=$(tr -cd '0-9' <"$result")
[ -n "$answer" ] || die "the guest ended without telling a result; its output is above"
printf '  ok  the guest ran the command, status %s\n' "$answer" >&2
exit "$answer"
