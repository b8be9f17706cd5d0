#!/usr/bin/env bash
# Builds everything, runs every test, and ends with one line: N passed, N failed, N skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

need=()
command -v cc >/dev/null || need+=(gcc libc6-dev)
# The guest of tests/Vmm.EndToEnd: QEMU, and what tools/guest/build.sh packs an initramfs with.
command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
command -v cpio >/dev/null || need+=(cpio)
# script(1), which makes a terminal for the tests of consoles.
command -v script >/dev/null || need+=(bsdutils)
# The ordinary program that guests talk to over vsock.
command -v socat >/dev/null || need+=(socat)
# What the guests' networks are made of, and met with.
command -v ip >/dev/null || need+=(iproute2)
command -v ping >/dev/null || need+=(iputils-ping)
command -v curl >/dev/null || need+=(curl)
# The reference compiler of ACPI, which reads our tables.
command -v iasl >/dev/null || need+=(acpica-tools)
# Looks for inputs by coverage (tools/fuzz.sh --coverage).
command -v afl-fuzz >/dev/null || need+=(afl++)
if [ "${#need[@]}" -gt 0 ]; then
  sudo=""; [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

dotnet build vmm.sln -c Release -v quiet --nologo
dotnet format vmm.sln --no-restore --verify-no-changes

passed=0 failed=0 skipped=0 status=0
for project in tests/*/*.csproj; do
  log=$(mktemp)
  dotnet test "$project" -c Release --no-build --nologo \
    --blame-hang-timeout 10m --blame-hang-dump-type none --results-directory artifacts/test-results 2>&1 | tee "$log" || status=1
  count() { { grep -oE "$1: +[0-9]+" "$log" || true; } | tail -n 1 | grep -oE '[0-9]+' || echo 0; }
  passed=$((passed + $(count Passed)))
  failed=$((failed + $(count Failed)))
  skipped=$((skipped + $(count Skipped)))
  rm -f "$log"
done

[ "$failed" -eq 0 ] || status=1
[ "$passed" -gt 0 ] || status=1
# As root on a machine with KVM every test can run: one that was skipped hides something.
if [ "$skipped" -gt 0 ] && [ "$(id -u)" -eq 0 ] && [ -w /dev/kvm ]; then
  echo "$skipped skipped: as root on a machine with KVM every test can run"
  status=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
