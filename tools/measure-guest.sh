#!/usr/bin/env bash
# A table of the network of real guests: TCP in both directions and the time of a ping, over `vmm serve` and over what the guest's machine has for a
# TAP itself, in turns. User Mode Linux runs at native speed; QEMU without KVM is slow by itself, and so is its guest's share.
# Prints the rows of a table of docs/performance.md, each ours : theirs. Run by tools/measure.sh; needs root, and gcc for the guest's programs.
set -euo pipefail
export LC_ALL=C
vmm=$(realpath "${1:?usage: tools/measure-guest.sh VMM [SECONDS [ROUNDS]]}") seconds=${2:-5} rounds=${3:-3}
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "measure-guest: run it as root, which may make a TAP" >&2; exit 1; }

work=$(mktemp -d /tmp/vmm-guest-XXXXXX)
network=vmm-guest-$$
host=10.78.0.1
jobs=()
stop_jobs() {
  [ ${#jobs[@]} -eq 0 ] || kill "${jobs[@]}" 2>/dev/null || true
  wait "${jobs[@]}" 2>/dev/null || true
  jobs=()
}
trap 'stop_jobs; kill "$(tr -d "\0" <"$work/iperf.pid" 2>/dev/null)" 2>/dev/null || true; ip netns delete "$network" 2>/dev/null || true; rm -rf "$work"' EXIT
for program in iperf3 cpio ip qemu-system-x86_64 linux.uml; do
  command -v $program >/dev/null || { echo "measure-guest: there is no '$program': apt-get install iperf3 cpio iproute2 qemu-system-x86 user-mode-linux" >&2; exit 1; }
done
inside() { ip netns exec "$network" "$@"; }

# The guest of the tests, and iperf3 with its libraries.
images=artifacts/guest
./tools/guest/build.sh "$images" >&2
mkdir -p "$work/root/bin" "$work/root/tests"
cp "$(command -v iperf3)" "$work/root/bin/"
ldd "$(command -v iperf3)" | awk '$2 == "=>" { print $3 } $1 ~ "^/" { print $1 }' | while read -r library; do
  mkdir -p "$work/root$(dirname "$library")" && cp -L "$library" "$work/root$library"
done
cat >"$work/root/tests/tcp.sh" <<END
card=\$(ls /sys/class/net | grep -v lo | head -n 1)
ip link set lo up; ip link set \$card up; ip addr add 10.78.0.2/24 dev \$card
ping -q -c 20 $host >/dev/null
iperf3 -c $host -t $seconds -f m | sed -n 's/.* \([0-9.]*\) Mbits.*receiver/measured out \1/p'
iperf3 -c $host -t $seconds -f m -R | sed -n 's/.* \([0-9.]*\) Mbits.*receiver/measured in \1/p'
ping -q -A -c 3000 $host | sed -n 's/^round-trip[^=]*= [0-9.]*.\([0-9.]*\).*/measured ping \1/p'
END
(cd "$work/root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/extra.gz"
for image in uml.gz initramfs.gz; do cat "$images/$image" "$work/extra.gz" >"$work/$image"; done

ip netns add "$network"
inside ip link set lo up
inside ip tuntap add tap0 mode tap vnet_hdr
inside ip addr add $host/24 dev tap0
inside ip link set tap0 up
inside iperf3 -s -D -I "$work/iperf.pid" >/dev/null
sleep 0.5

serve() {
  rm -f "$work/s"
  ip netns exec "$network" "$vmm" serve --net "socket=$work/s,tap=tap0" --allow-unsealed >"$work/log" 2>&1 &
  jobs+=($!)
  for _ in $(seq 100); do [ -S "$work/s" ] && return; sleep 0.05; done
  return 1
}
# Both kinds of guest run the tests' init, which powers off at the end. Without MSI-X: with it, QEMU 7.2 crashes over vhost-user where it emulates.
uml() {
  LD_PRELOAD=$PWD/$images/umlxsave.so timeout 120 ip netns exec "$network" linux.uml mem=256M initrd="$work/uml.gz" uml_dir="$work/uml/" \
    con0=fd:0,fd:1 con=null ssl=null quiet panic=-1 vmm.tests=tcp "$@" </dev/null 2>/dev/null
}
qemu() {
  timeout 240 ip netns exec "$network" qemu-system-x86_64 -nodefaults -no-reboot -display none -serial stdio -machine q35,accel=tcg -m 256 \
    -object memory-backend-memfd,id=memory,size=256M,share=on -numa node,memdev=memory -kernel "$images/vmlinuz" -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 quiet panic=-1 vmm.tests=tcp" "$@" -device virtio-net-pci,netdev=n,vectors=0,romfile= </dev/null 2>/dev/null
}
run() {
  local guest=$1 side=$2; shift 2
  echo "measure-guest: $guest, $side" >&2
  "$@" | tr -d '\r' | awk -v guest="$guest" -v side="$side" '$1 == "measured" { print guest, side, $2, $3 }' >>"$work/figures" || true
  stop_jobs
}
for _ in $(seq "$rounds"); do
  serve && run uml ours uml "virtio_uml.device=$work/s:1"
  run uml theirs uml vec0:transport=tap,ifname=tap0,depth=128,gro=1
  serve && run qemu ours qemu -chardev "socket,id=c,path=$work/s" -netdev vhost-user,id=n,chardev=c
  run qemu theirs qemu -netdev tap,id=n,ifname=tap0,script=no,downscript=no
done

row() {
  local guest=$1 what=$2 title=$3 ours theirs
  ours=$(median "$guest ours $what") theirs=$(median "$guest theirs $what")
  if [ -n "$ours" ] && [ -n "$theirs" ]; then
    awk -v title="$title" -v ours="$ours" -v theirs="$theirs" 'BEGIN { printf "| %s | %.2f (%s : %s) |\n", title, ours / theirs, ours, theirs }'
  else
    echo "| $title | not measured |"
  fi
}
median() { sed -n "s/^$1 //p" "$work/figures" | sort -g | awk '{ all[NR] = $1 } END { if (NR) print all[int((NR + 1) / 2)] }'; }
for guest in uml qemu; do
  [ $guest = uml ] && name="User Mode Linux" || name="QEMU, emulated"
  row $guest out "$name: TCP out of the guest, Mbit/s"
  row $guest in "$name: TCP into the guest, Mbit/s"
  row $guest ping "$name: ping, ms"
done
