#!/usr/bin/env bash
# Builds a guest for QEMU that has KVM and our tool inside, for machines whose own /dev/kvm can't boot Linux: OUTPUT/nest.gz, an initramfs with the
# tool, KVM's modules, and the guest of build.sh as what it boots. Its first process runs /run.sh, which comes in an archive of its own behind it:
#   qemu-system-x86_64 -machine q35 -accel tcg -cpu EPYC,+svm,+npt -m 1200 -kernel OUTPUT/vmlinuz -initrd NEST_AND_RUN …
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
output=${1:?usage: tools/guest/nest.sh OUTPUT}
mkdir -p "$output"
output=$(cd "$output" && pwd)
# One at a time; who only reads finds a whole archive, the old one or the new one.
exec 8>"$output/nest-lock"
flock 8
"$here/build.sh" "$output"

sources=("$repository/src" "$repository/tools/vmm" "$repository/tools/publish.sh" "$repository/tools/packaging/guest" "$here" "$repository"/Directory.*.props ${VMM_TOOL:+"$VMM_TOOL"})
if [ -f "$output/nest.gz" ] && [ -z "$(find "${sources[@]}" -newer "$output/nest.gz" -type f)" ]; then exit 0; fi

# The file under test where there is one (VMM_TOOL), else one of these sources.
tool=${VMM_TOOL:-}
[ -n "$tool" ] || { "$repository/tools/publish.sh"; tool=$repository/artifacts/vmm/vmm; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,modules,boot,vmm}
for package in linux-image-*-cloud-amd64 busybox-static; do dpkg-deb -x "$(compgen -G "$output/packages/${package}_*.deb" | tail -n 1)" "$root/debian"; done
cp "$root/debian/bin/busybox" "$root/bin/"
# In the order they need each other; a kernel that has one built in, or does without, has no file of it.
for module in irqbypass ccp kvm kvm-amd tun; do
  file=$(find "$root/debian/lib/modules" -name "$module.ko" | head -n 1)
  [ -z "$file" ] || { cp "$file" "$root/modules/"; echo "$module" >>"$root/modules/order"; }
done
rm -rf "$root/debian"
for program in "$here"/host/*.c; do cc -O2 -Wall -static -o "$root/bin/$(basename "$program" .c)" "$program"; done
cp "$output"/vmlinuz{,-generic} "$output"/initramfs{,-generic}.gz "$root/boot/"
cp "$tool" "$root/vmm/vmm"
# The host's own C libraries.
ldd "$tool" | grep -o '/[^ :)]*\.so[^ :)]*' | sort -u |
  while read -r library; do mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"; done
install -m 755 "$here/nest-init" "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$output/nest.gz.new"
mv "$output/nest.gz.new" "$output/nest.gz"
