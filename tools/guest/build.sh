#!/usr/bin/env bash
# Builds a small Linux guest from Debian's packages: OUTPUT/vmlinuz and OUTPUT/initramfs.gz for a virtual machine, Debian's kernel for clouds; the same
# with Debian's kernel for any machine, which has more drivers, as OUTPUT/vmlinuz-generic and OUTPUT/initramfs-generic.gz; and OUTPUT/uml.gz, the same
# user space with the modules of User Mode Linux, if Debian's user-mode-linux is installed. Packages are kept in OUTPUT/packages; nothing is built
# again while this directory is older than the result.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
output=${1:?usage: tools/guest/build.sh OUTPUT}
mkdir -p "$output/packages"
output=$(cd "$output" && pwd)
# One at a time: tests that run side by side both ask for it.
exec 9>"$output/lock"
flock 9

uml=$(compgen -G '/usr/lib/uml/modules/*/kernel' || true)
if [ -f "$output/initramfs.gz" ] && [ -f "$output/initramfs-generic.gz" ] && [ -z "$(find "$here" "$here/../packaging/guest" -newer "$output/initramfs.gz" -type f)" ] \
  && { [ -z "$uml" ] || [ "$output/uml.gz" -nt "$uml" ]; }; then exit 0; fi

find_kernel() { apt-cache depends "$1" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*-amd64\).*/\1/p' | head -n 1; }
kernel=$(find_kernel linux-image-cloud-amd64)
if [ -z "$kernel" ] && [ "$(id -u)" -eq 0 ]; then apt-get update -qq && kernel=$(find_kernel linux-image-cloud-amd64); fi
[ -n "$kernel" ] || { echo "no linux-image-cloud-amd64 in the package lists: run apt-get update" >&2; exit 1; }
generic=$(find_kernel linux-image-amd64)
[ -n "$generic" ] || { echo "no linux-image-amd64 in the package lists: run apt-get update" >&2; exit 1; }
# mke2fs and the libraries it loads; the rest of user space is busybox and our own programs.
packages=("$kernel" busybox-static e2fsprogs libext2fs2 libcom-err2 libblkid1 libuuid1 libc6)
# The database of the power cuts, in User Mode Linux only.
database=(sqlite3 libsqlite3-0 libreadline8 libtinfo6 zlib1g)
[ -z "$uml" ] || packages+=("${database[@]}")
missing=()
for package in "${packages[@]}" "$generic"; do
  compgen -G "$output/packages/${package}_*.deb" >/dev/null || missing+=("$package")
done
# apt fetches as a user of its own where it runs as root: let that user write there.
if [ "${#missing[@]}" -gt 0 ]; then
  [ "$(id -u)" -ne 0 ] || chmod a+rwx "$output/packages"
  (cd "$output/packages" && apt-get download -qq "${missing[@]}")
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
for package in "${packages[@]}"; do dpkg-deb -x "$output/packages/${package}"_*.deb "$root/debian"; done

guest=$root/guest
mkdir -p "$guest"/{bin,sbin,dev,proc,sys,tmp,mnt,etc,lib/x86_64-linux-gnu,lib64,tests}
cp "$root/debian/bin/busybox" "$guest/bin/"
cp "$root/debian/sbin/mke2fs" "$guest/sbin/"
for library in libext2fs.so.2 libcom_err.so.2 libblkid.so.1 libuuid.so.1 libe2p.so.2 libc.so.6; do
  cp -L "$(find "$root/debian" -name "$library" | head -n 1)" "$guest/lib/x86_64-linux-gnu/"
done
cp -L "$(find "$root/debian" -name 'ld-linux-x86-64.so.2' | head -n 1)" "$guest/lib64/"
printf '[defaults]\n' >"$guest/etc/mke2fs.conf"
for program in "$here"/programs/*.c; do
  cc -O2 -Wall -static -o "$guest/bin/$(basename "$program" .c)" "$program"
done
install -m 755 "$here/init" "$guest/init"
install -m 755 "$here"/tests/*.sh "$guest/tests/"
install -m 755 "$here/../packaging/guest/vmm-places" "$guest/bin/"

# A kernel unpacks any number of archives, one after the other: the user space is the same for both, the modules are each kernel's own.
pack() { (cd "$1" && find . | cpio --quiet -o -H newc | gzip -1); }
# In the order they need each other; a module that this kernel has built in is not there.
pack_modules() {
  local from=$1 modules=$root/modules
  rm -rf "$modules" && mkdir -p "$modules/modules"
  : >"$modules/modules/order"
  for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk rng-core virtio-rng failover net_failover virtio_net \
    vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport virtio_mmio virtio_balloon virtio_console pvpanic pvpanic-mmio \
    button evdev; do
    file=$(find "$from" -name "$module.ko" | head -n 1)
    [ -z "$file" ] || { cp "$file" "$modules/modules/"; echo "$module" >>"$modules/modules/order"; }
  done
  pack "$modules"
}

place() { cp "$1" "$2.new" && mv "$2.new" "$2"; }
place "$(compgen -G "$root/debian/boot/vmlinuz-*")" "$output/vmlinuz"
pack "$guest" >"$root/user-space.gz"
if [ -n "$uml" ]; then
  cc -O2 -Wall -shared -fPIC -o "$output/umlxsave.so" "$here/uml/umlxsave.c"
  mkdir -p "$root/database/bin" "$root/database/lib/x86_64-linux-gnu"
  cp "$root/debian/usr/bin/sqlite3" "$root/database/bin/"
  for library in libsqlite3.so.0 libreadline.so.8 libtinfo.so.6 libz.so.1 libm.so.6; do
    cp -L "$(find "$root/debian" -name "$library" | head -n 1)" "$root/database/lib/x86_64-linux-gnu/"
  done
  pack "$root/database" >"$root/database.gz"
  pack_modules "$uml" | cat "$root/user-space.gz" "$root/database.gz" - >"$output/uml.gz.new"
  mv "$output/uml.gz.new" "$output/uml.gz"
fi
dpkg-deb -x "$output/packages/${generic}"_*.deb "$root/generic"
place "$(compgen -G "$root/generic/boot/vmlinuz-*")" "$output/vmlinuz-generic"
pack_modules "$root/generic/lib/modules" | cat "$root/user-space.gz" - >"$output/initramfs-generic.gz.new"
mv "$output/initramfs-generic.gz.new" "$output/initramfs-generic.gz"
pack_modules "$root/debian/lib/modules" | cat "$root/user-space.gz" - >"$output/initramfs.gz.new"
mv "$output/initramfs.gz.new" "$output/initramfs.gz"
