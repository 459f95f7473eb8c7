#!/bin/sh
# make-desktop.sh - a disk with a Wayland desktop (weston and its terminal, drawn without 3D), in $CACHE/desktop/root.img.
# It is started by the generic guest's kernel and initramfs (make-guest.sh generic), whose init hands over to it.  A
# shell runs on the serial port beside the desktop; the guest agent is there, too.  Needs no root, but a few hundred MB
# of packages.
set -eu
. "$(dirname -- "$0")/../lib.sh"

dest=$CACHE/desktop
command -v mmdebstrap >/dev/null 2>&1 || die "mmdebstrap is missing: run scripts/packages.sh long"
stamp=$(cksum <"$0" | cut -d' ' -f1)
[ -f "$dest/stamp" ] && [ "$(cat "$dest/stamp")" = "$stamp" ] && echo "$dest" && exit 0

mkdir -p "$CACHE"
work=$(mktemp -d "$CACHE/make.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/init" <<'END'
#!/bin/sh
# The desktop guest's first process, after the initramfs: devices, desktop, a shell.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root XDG_RUNTIME_DIR=/run/weston WAYLAND_DISPLAY=wayland-0
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /dev/shm "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
weston --backend=drm-backend.so --use-pixman --tty=1 --socket=wayland-0 >/tmp/weston.log 2>&1 &
until [ -S "$XDG_RUNTIME_DIR/wayland-0" ]; do
    kill -0 $! || { cat /tmp/weston.log; break; }
    sleep 0.1
done
weston-terminal --maximized >/tmp/terminal.log 2>&1 &
echo "desktop guest: up after $(cut -d' ' -f1 /proc/uptime) s"
cd /root
while :; do
    PS1='desktop# ' setsid -c sh -i </dev/ttyS0 >/dev/ttyS0 2>&1
done
END
cat >"$work/weston.ini" <<'END'
[core]
idle-time=0
[shell]
background-color=0xff205080
panel-position=top
clock-format=none
locking=false
[terminal]
font=DejaVu Sans Mono
font-size=16
END
chmod 755 "$work/init"
mode=root
[ "$(id -u)" = 0 ] || mode=unshare
mmdebstrap --mode=$mode --variant=apt --include=weston,qemu-guest-agent,udev,kmod,mount,fonts-dejavu-core \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="rm -rf \"\$1\"/var/cache/apt/* \"\$1\"/var/lib/apt/lists/*; rm -f \"\$1/sbin/init\";
        cp '$work/init' \"\$1/sbin/init\"; mkdir -p \"\$1/etc/xdg/weston\";
        cp '$work/weston.ini' \"\$1/etc/xdg/weston/weston.ini\"" \
    --format=tar bookworm "$work/root.tar"
# what belongs to root in the file system must be root's while it is copied
shell='sh'
[ "$(id -u)" = 0 ] || shell='unshare --map-root-user --map-auto sh'
# shellcheck disable=SC2016,SC2086 # for that shell; a list of words
$shell -ec 'cd "$1"; mkdir root; tar -C root --exclude="./dev/*" -xf root.tar
    PATH=$PATH:/usr/sbin mke2fs -q -t ext4 -O ^metadata_csum_seed -d root root.img 1G; rm -rf root' sh "$work"
mkdir -p "$dest"
mv "$work/root.img" "$dest/"
echo "$stamp" >"$dest/stamp"
echo "$dest"
