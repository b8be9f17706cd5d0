#!/usr/bin/env bash
# Makes the profile that tools/publish.sh gives to the native compiler, tools/vmm/profile/vmm.mibc: runs a server with the JIT under load, and
# writes down how often each place of its methods was passed. Takes a minute. Run it when what a request passes has changed, and commit the file.
set -euo pipefail
cd "$(dirname "$0")/.."
refuse() { echo "profile: $1" >&2; exit 1; }
say() { echo "profile: $1" >&2; }

work=$(mktemp -d /tmp/vmm-profile-XXXXXX)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

say "building"
dotnet build tools/Vmm.Profile -c Release -v quiet --nologo -p:RunAnalyzers=false -p:UseSharedCompilation=false >"$work/build" 2>&1 ||
  { tail -n 20 "$work/build" >&2; refuse "the build failed; the lines above say why"; }
vmm=artifacts/bin/vmm/release/vmm.dll

truncate -s 256M "$work/disk.img"
# Methods are counted from their first call on and stay as they are: nothing is compiled anew, and nothing of the framework comes compiled.
env DOTNET_TieredPGO=1 DOTNET_TieredPGO_InstrumentOnlyHotCode=0 DOTNET_TC_CallCounting=0 DOTNET_TC_QuickJitForLoops=1 DOTNET_ReadyToRun=0 \
  DOTNET_WritePGOData=1 DOTNET_PGODataPath="$work/counts" \
  dotnet "$vmm" serve --sandbox off --blk "path=$work/disk.img,socket=$work/blk.sock" >"$work/log" 2>&1 &
server=$!
for _ in $(seq 300); do [ -S "$work/blk.sock" ] && break; sleep 0.1; done
[ -S "$work/blk.sock" ] || { cat "$work/log" >&2; refuse "the server did not start"; }

# load ACCESS DEPTH: five seconds of it.
load() {
  say "$1, depth $2"
  dotnet "$vmm" bench vhost-user-blk --socket "$work/blk.sock" --rw "$1" --depth "$2" --seconds 5 >"$work/bench" 2>&1 ||
    { cat "$work/bench" "$work/log" >&2; refuse "the load failed"; }
}
load randwrite 32
load randread 32
load randread 1
kill "$server"
wait "$server" || refuse "the server did not end as it was asked to"
server=
[ -s "$work/counts" ] || refuse "the runtime wrote no counts"
dotnet artifacts/bin/Vmm.Profile/release/Vmm.Profile.dll make "$work/counts" tools/vmm/profile/vmm.mibc
# The step that compiles does not count the profile among what it reads, and would keep what it made with the one before.
rm -f artifacts/obj/vmm/release_linux-x64/native/vmm.o
