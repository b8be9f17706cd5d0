#!/usr/bin/env bash
# Packs the tests of Vmm.Devices.Tests that need KVM, with the runtime, as an archive to put behind the guest of nest.sh: OUTPUT/kvm-tests.gz.
# The tests must have been built: this script takes them as they are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
output=${1:?usage: tools/guest/kvm-tests.sh OUTPUT}
output=$(cd "$output" && pwd)
built=$repository/artifacts/bin/Vmm.Devices.Tests/release
[ -f "$built/Vmm.Devices.Tests.dll" ] || { echo "build tests/Vmm.Devices.Tests first: $built is not there" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/tests" "$root/dotnet"
cp -r "$built"/. "$root/tests/"
dotnet=$(dirname "$(readlink -f "$(command -v dotnet)")")
version=$(dotnet --list-runtimes | sed -n 's/^Microsoft\.NETCore\.App \(10\.[^ ]*\) .*/\1/p' | tail -n 1)
mkdir -p "$root/dotnet/shared/Microsoft.NETCore.App" "$root/dotnet/host"
cp "$dotnet/dotnet" "$root/dotnet/"
cp -r "$dotnet/host/fxr" "$root/dotnet/host/"
cp -r "$dotnet/shared/Microsoft.NETCore.App/$version" "$root/dotnet/shared/Microsoft.NETCore.App/"
# The host's own libraries: what the runtime is linked against, and OpenSSL, which it loads (the test runner hashes names).
ssl=$(ldconfig -p | sed -n 's/.*libssl\.so\.[13].* => //p' | head -n 1)
[ -n "$ssl" ] || { echo "no OpenSSL library on this machine: install libssl3" >&2; exit 1; }
{
  find "$root/dotnet" -type f \( -name '*.so' -o -name dotnet \) -exec ldd {} +
  echo " $ssl)"
  ldd "$ssl"
} | grep -o '/[^ :)]*\.so[^ :)]*' | sort -u | grep -v "^$root" |
  while read -r library; do mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"; done
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$output/kvm-tests.gz.new$$"
mv "$output/kvm-tests.gz.new$$" "$output/kvm-tests.gz"
