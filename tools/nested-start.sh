#!/usr/bin/env bash
# How long a monitor takes from exec to its guest's first line of user space, where the monitor itself runs under emulation: 'vmm boot' beside the smallest
# monitor in C (tools/guest/host/monitor.c), in turns in one guest of QEMU whose emulated processor can virtualize. Prints each time, medians and the ratio.
#   ./tools/nested-start.sh [PAIRS]
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${1:-5}
output=artifacts/guest
./tools/guest/nest.sh "$output"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# /proc/uptime has hundredths of a second, and busybox's clock whole seconds only.
cat >"$scratch/run.sh" <<'GUEST'
now() { cut -d ' ' -f 1 /proc/uptime; }
options="console=ttyS0 quiet panic=-1"
measure() {
  name=$1; shift
  : >/tmp/console
  start=$(now)
  "$@" </dev/null >/tmp/console 2>&1 &
  until grep -q "vmm-guest ready" /tmp/console; do kill -0 $! || { cat /tmp/console; exit 1; }; usleep 100000; done
  echo "vmm-start $name $start $(now)"
  kill -9 $!
  wait $! || true
}
GUEST
for _ in $(seq "$pairs"); do
  cat >>"$scratch/run.sh" <<'GUEST'
# The C monitor has no ACPI tables.
measure monitor monitor /boot/vmlinuz /boot/initramfs.gz 256 "$options acpi=off"
measure vmm vmm boot --kernel /boot/vmlinuz --initrd /boot/initramfs.gz --memory 256 --cmdline "$options"
GUEST
done
(cd "$scratch" && echo run.sh | cpio --quiet -o -H newc | gzip -1) | cat "$output/nest.gz" - >"$scratch/nest.gz"

qemu-system-x86_64 -nodefaults -no-reboot -display none -serial stdio -machine q35,accel=tcg -cpu EPYC,+svm,+npt -m 1200 \
  -kernel "$output/vmlinuz" -initrd "$scratch/nest.gz" -append "console=ttyS0 quiet panic=-1" 2>/dev/null | tr -d '\r' | tee "$scratch/log" |
  awk '/^vmm-start/ { printf "%-8s %.1f s\n", $2, $4 - $3; fflush() }'
grep -q '^vmm-nest passed' "$scratch/log" || { tail -n 20 "$scratch/log" >&2; exit 1; }
median() { awk -v name="$1" '$1 == "vmm-start" && $2 == name { print $4 - $3 }' "$scratch/log" | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
monitor=$(median monitor) vmm=$(median vmm)
awk -v monitor="$monitor" -v vmm="$vmm" 'BEGIN { printf "median   monitor %.1f s, vmm %.1f s: ratio %.2f (bound 1.15)\n", monitor, vmm, vmm / monitor }'
