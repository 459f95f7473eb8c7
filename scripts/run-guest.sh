#!/bin/sh
# run-guest.sh [--command "WORDS"] [--kernel FLAVOUR] [HANOK-VM-OPTION...]
# Boots the project's guest.  On a terminal: a shell on the serial console (leave with Ctrl-a x, or poweroff
# inside).  Without one (./run < /dev/null, CI): runs a command in the guest and exits with its status.
set -eu
. "$(dirname -- "$0")/lib.sh"
command='uname -a; cat /proc/meminfo | head -n 3; df -h /; ip -4 addr show eth0 | grep -q 10.0.2.15'
flavour=cloud
interactive=no
[ -t 0 ] && [ -t 1 ] && interactive=yes
while [ $# -gt 0 ]; do
    case $1 in
    --command)
        command=${2:?--command needs a text}
        interactive=no
        shift 2
        ;;
    --kernel)
        flavour=${2:?--kernel needs a flavour}
        shift 2
        ;;
    --help)
        sed -n '2,4s/^# //p' "$0"
        exit 0
        ;;
    *) break ;;
    esac
done
guest=$CACHE/guest-$flavour
vm=${HANOK_VM:-$TOP/build/hanok-vm}
[ -f "$guest/stamp" ] || sh "$TOP/scripts/guest/prepare.sh" "$flavour"
disk=$CACHE/run-$flavour.img
[ -f "$disk" ] || cp --sparse=always "$guest/root.img" "$disk"

append="console=ttyS0 root=/dev/vda quiet hanok.net hanok.button"
result=
if [ $interactive = no ]; then
    result=$(mktemp)
    trap 'rm -f "$result"' EXIT
    append="$append hanok.run=$(printf '%s' "$command" | sed 's/ /%20/g')"
else
    printf '  ->  booting Debian %s; the shell comes on this terminal, Ctrl-a x leaves, Ctrl-a h helps\n' \
        "$(cat "$CACHE/kernel-$flavour/release")" >&2
fi
status=0
"$vm" -machine q35 -m 512 -nodefaults -nographic -no-reboot -name guest=hanok-first \
    -kernel "$guest/vmlinuz" -initrd "$guest/initrd.img" -append "$append" \
    -chardev stdio,id=con,mux=on,signal=off -serial chardev:con -mon chardev=con \
    -drive "file=$disk,format=raw,if=virtio" \
    -netdev user,id=net0 -device virtio-net-pci,netdev=net0 -device virtio-rng-pci \
    -device virtio-serial-pci ${result:+-chardev "file,id=result,path=$result"} \
    ${result:+-device virtserialport,chardev=result,name=org.hanok.result} "$@" || status=$?
[ -z "$result" ] && exit $status
[ $status = 0 ] || exit $status
answer=$(tr -cd '0-9' <"$result")
[ -n "$answer" ] || die "the guest ended without telling a result; its output is above"
printf '  ok  the guest ran the command, status %s\n' "$answer" >&2
exit "$answer"
