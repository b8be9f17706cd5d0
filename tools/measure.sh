#!/usr/bin/env bash
# Makes the tables of docs/performance.md anew: every comparison of tools/Vmm.Benchmarks and the loads on a vhost-user disk, each beside its
# baseline in one run, with the JIT and as a native file. Takes about 25 minutes; with --quick about 10, for a look and not for a claim.
set -euo pipefail
export LC_ALL=C
repository=$(cd "$(dirname "$0")/.." && pwd)
cd "$repository"
refuse() { echo "measure: $1" >&2; exit 1; }

quick=() seconds=10 image_mib=1024 page=docs/performance.md
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=(--quick) seconds=3 image_mib=256 ;;
    --output) page=${2:-}; shift ;;
    *) echo "usage: $0 [--quick] [--output FILE.md]" >&2; exit 2 ;;
  esac
  shift
done
for program in dotnet jq taskset cc; do
  command -v "$program" >/dev/null || refuse "there is no '$program': install it (apt-get install jq util-linux gcc libc6-dev, and the .NET 10 SDK)"
done
[ -f "$page" ] || refuse "'$page' does not exist: name a copy of docs/performance.md, whose tables are replaced"
grep -q '^<!-- measured -->$' "$page" && grep -q '^<!-- end -->$' "$page" ||
  refuse "'$page' has no lines '<!-- measured -->' and '<!-- end -->' for the tables to stand between"

work=$(mktemp -d /tmp/vmm-measure-XXXXXX)
servers=()
stop_servers() {
  [ ${#servers[@]} -eq 0 ] || kill "${servers[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  servers=()
}
network=vmm-measure-$$
trap 'stop_servers; ip netns delete "$network" 2>/dev/null || true; rm -rf "$work"' EXIT
say() { echo "measure: $1, $((SECONDS / 60)) min $((SECONDS % 60)) s" >&2; }

# What is measured is built first, so that no compiler runs beside it.
say "building"
dotnet build tools/Vmm.Benchmarks -c Release -v quiet --nologo -p:RunAnalyzers=false -p:UseSharedCompilation=false >"$work/build" 2>&1 ||
  { tail -n 20 "$work/build" >&2; refuse "the build failed; the lines above say why"; }
dotnet build tools/vmm -c Release -v quiet --nologo -p:RunAnalyzers=false -p:UseSharedCompilation=false >"$work/build" 2>&1 ||
  { tail -n 20 "$work/build" >&2; refuse "the build failed; the lines above say why"; }
[ -n "${VMM_TOOL:-}" ] || { ./tools/publish.sh "$work/native" && VMM_TOOL=$work/native/vmm; }
benchmarks=artifacts/bin/Vmm.Benchmarks/release/Vmm.Benchmarks.dll
jit="dotnet $repository/artifacts/bin/vmm/release/vmm.dll"
started=$SECONDS

# compare GROUP: a table of one comparison.
compare() {
  say "compare $1"
  if ! dotnet "$benchmarks" compare "$1" "${quick[@]}" --json "$work/$1.json" >"$work/log" 2>&1; then
    printf '\n### `compare %s`\n\nNot measured: %s\n' "$1" "$(tail -n 1 "$work/log")"
    return
  fi
  printf '\n### `compare %s`\n\n| comparison | n | variant | ns | ratio to the first |\n|---|---|---|---|---|\n' "$*"
  jq -r '.[] | "| \(.group) | \(.n) | \(.variant) | \(.ns_per_event * 10 | round / 10) | \(.ratio * 100 | round / 100) |"' "$work/$1.json"
}

# serve NAME COMMAND...: starts a back-end on the processors $processors (the first if unset) and waits for its socket.
serve() {
  local socket=$work/$1.sock log=$work/$1.log; shift
  taskset -c "${processors:-0}" "$@" >"$log" 2>&1 &
  servers+=($!)
  for _ in $(seq 300); do
    [ -S "$socket" ] && return
    kill -0 "${servers[-1]}" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# daemon QUEUES IMAGE...: qemu-storage-daemon for each image, the socket of the first is b.sock.
daemon() {
  local queues=$1 command=(qemu-storage-daemon) image name=b number=0; shift
  for image in "$@"; do
    command+=(--blockdev "driver=file,node-name=f$number,filename=$image,locking=off,aio=io_uring"
      --export "vhost-user-blk,id=e$number,node-name=f$number,addr.type=unix,addr.path=$work/$name.sock,writable=on,num-queues=$queues")
    number=$((number + 1)) name=b$number
  done
  serve b "${command[@]}"
}

# load TITLE SERVER-OPTION BENCH-OPTIONS...: one row for each build, against qemu-storage-daemon on an equal image, with $queues rings (1 if unset).
# What comes before the measured load lets the JIT finish.
load() {
  local title=$1 option=$2 build server; shift 2
  for build in JIT AOT; do
    [ $build = JIT ] && server=$jit || server=$VMM_TOOL
    say "$title, $build"
    # shellcheck disable=SC2086
    if serve a $server serve --blk "path=$work/a.img,socket=$work/a.sock${queues:+,queues=$queues}" $option && daemon "${queues:-1}" "$work/b.img" &&
      taskset -c "${client:-1}" $jit bench vhost-user-blk --socket "$work/a.sock" --vs "$work/b.sock" --seconds 2 "$@" >"$work/log" 2>&1 &&
      taskset -c "${client:-1}" $jit bench vhost-user-blk --socket "$work/a.sock" --vs "$work/b.sock" --seconds "$seconds" --json "$work/load.json" \
        "$@" >"$work/log" 2>&1; then
      jq -r --arg title "$title" --arg build "$build" --arg command "vmm serve${option:+ $option}; vmm bench vhost-user-blk $*" '"| \($title) | \($build) | " +
        "\(.ratio * 100 | round / 100) (\(.a.operationsPerSecond | round) : \(.b.operationsPerSecond | round)) | " +
        "\(.a.cpuMicrosecondsPerOperation / .b.cpuMicrosecondsPerOperation * 100 | round / 100) | " +
        "\(.a.p99Microseconds / .b.p99Microseconds * 100 | round / 100) | `\($command)` |"' "$work/load.json"
    else
      printf '| %s | %s | not measured: %s | | | |\n' "$title" "$build" "$(cat "$work"/{a.log,b.log,log} 2>/dev/null | tail -n 1 | tr '|' ' ')"
    fi
    stop_servers
    rm -f "$work"/{a.sock,b.sock,a.log,b.log,log}
  done
}

# many DEPTH: a row of 16 disks on one reactor, each with a client of its own, none of them pinned; the two servers in turns. The p99 is the mean of
# the clients' own.
many() {
  local depth=$1 disks=16 turn side number clients images=() command=("$VMM_TOOL" serve) name=a
  say "$disks disks, depth $depth"
  for ((number = 0; number < disks; number++)); do
    [ -f "$work/many-$number.img" ] || dd if=/dev/urandom of="$work/many-$number.img" bs=4k count=4096 status=none
    images+=("$work/many-$number.img")
    command+=(--blk "path=$work/many-$number.img,ro,socket=$work/$name.sock")
    name=a$((number + 1))
  done
  rm -f "$work"/many-*.json
  for ((turn = 0; turn < 4; turn++)); do
    for side in a b; do
      # Of one server at a time, for an image is locked by its writer.
      if [ $side = a ]; then processors=0-1 serve a "${command[@]}"; else processors=0-1 daemon 1 "${images[@]}"; fi || break 2
      clients=()
      for ((number = 0; number < disks; number++)); do
        [ $number = 0 ] && name=$side || name=$side$number
        "$VMM_TOOL" bench vhost-user-blk --socket "$work/$name.sock" --depth "$depth" --seconds "$((seconds / 2 + 1))" \
          --json "$work/many-$side-$turn-$number.json" >"$work/log" 2>&1 &
        clients+=($!)
      done
      wait "${clients[@]}" || true
      stop_servers
      rm -f "$work"/{a,b}*.sock
    done
  done
  if ls "$work"/many-a-*.json "$work"/many-b-*.json >/dev/null 2>&1; then
    jq -r -n --arg depth "$depth" --slurpfile a <(cat "$work"/many-a-*.json) --slurpfile b <(cat "$work"/many-b-*.json) '
      def rate: map(.a.operationsPerSecond) | add / 4; def p99: map(.a.p99Microseconds) | add / length;
      def cpu: map(.a.cpuMicrosecondsPerOperation) | add / length;
      "| 16 disks, depth \($depth) | AOT | \(($a | rate) / ($b | rate) * 100 | round / 100) (\($a | rate | round) : \($b | rate | round)) | " +
      "\(($a | cpu) / ($b | cpu) * 100 | round / 100) | \(($a | p99) / ($b | p99) * 100 | round / 100) | |"'
  else
    printf '| 16 disks, depth %s | AOT | not measured: %s | | | |\n' "$depth" "$(cat "$work"/{a.log,b.log,log} 2>/dev/null | tail -n 1 | tr '|' ' ')"
  fi
}

inside() { ip netns exec "$network" "$@"; }

# send NAME SIZE COMMAND...: a driver that polls sends frames as fast as the back-end COMMAND takes them to its tap0. Prints how many a second, and
# the microseconds of processor time that each took of the back-end.
send() {
  local name=$1 size=$2 frames used began; shift 2
  serve "$name" ip netns exec "$network" "$@" || return 1
  for _ in $(seq 100); do inside ip link set tap0 up 2>/dev/null && break; sleep 0.1; done
  # Not by the function, whose shell would be ended in the program's place.
  ip netns exec "$network" taskset -c 1 dpdk-testpmd --no-huge -m 256 --no-pci --no-shconf --file-prefix "measure-driver-$$" --lcores=0@1,1@1 \
    --vdev="net_virtio_user0,path=$work/$name.sock,queues=1" -- --forward-mode=txonly --txpkts="$size" --auto-start --no-mlockall \
    --total-num-mbufs=4096 --stats-period 3600 >"$work/driver.log" 2>&1 &
  servers+=($!)
  sleep 4
  frames=$(inside cat /sys/class/net/tap0/statistics/rx_packets) used=$(processor_time "${servers[0]}") began=$EPOCHREALTIME
  sleep "$seconds"
  awk -v frames=$(($(inside cat /sys/class/net/tap0/statistics/rx_packets) - frames)) -v used=$(($(processor_time "${servers[0]}") - used)) \
    -v began="$began" -v ended="$EPOCHREALTIME" -v ticks="$(getconf CLK_TCK)" \
    'BEGIN { if (!frames) exit 1; printf "%.0f %.3f\n", frames / (ended - began), used / ticks * 1e6 / frames }'
}
processor_time() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

# frames SIZE: one row for each build, against DPDK's vhost and its driver of a TAP.
frames() {
  local size=$1 build server theirs ours
  say "frames of $size bytes, DPDK"
  theirs=$(send d "$size" dpdk-testpmd --no-huge -m 256 --no-pci --no-shconf --file-prefix "measure-$$" --lcores=0@0,1@0 \
    --vdev="net_vhost0,iface=$work/d.sock,queues=1" --vdev=net_tap0,iface=tap0 -- --forward-mode=io --auto-start --no-mlockall \
    --total-num-mbufs=8192 --stats-period 3600; stop_servers) || theirs=
  for build in JIT AOT; do
    [ $build = JIT ] && server=$jit || server=$VMM_TOOL
    say "frames of $size bytes, $build"
    # shellcheck disable=SC2086
    ours=$(send n "$size" $server serve --net "socket=$work/n.sock,tap=tap0" --allow-unsealed; stop_servers) || ours=
    rm -f "$work"/{n,d}.sock
    if [ -n "$ours" ] && [ -n "$theirs" ]; then
      echo "$ours $theirs" | awk -v size="$size" -v build=$build \
        '{ printf "| %s bytes | %s | %.2f (%d : %d) | %.2f |\n", size, build, $1 / $3, $1, $3, $2 / $4 }'
    else
      printf '| %s bytes | %s | not measured: %s | |\n' "$size" $build "$(cat "$work"/{d,n,driver}.log 2>/dev/null | tail -n 1 | tr '|' ' ')"
    fi
  done
}

{
  echo
  printf 'Machine: %s, %s processors, Linux %s, .NET %s; load %s when it began. Date: %s. Pace: %s.\n' \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" "$(dotnet --version)" \
    "$(cut -d ' ' -f 1 /proc/loadavg)" "$(date -I)" "${quick[0]:---thorough}"
  for group in one-ready all-ready invoke notifier tasks-wake ring-cached buffers queue exits net vsock; do compare "$group"; done

  if command -v qemu-storage-daemon >/dev/null; then
    # Both images come into the page cache alike, in single pages.
    for image in a b; do dd if=/dev/urandom of="$work/$image.img" bs=4k count=$((image_mib * 256)) status=none; done
    printf '\n### A vhost-user disk against `qemu-storage-daemon` (`aio=io_uring`)\n\n'
    printf 'Server on processor 0, client on 1, %s MiB in the page cache, %s s each, a second in turns.\n\n' "$image_mib" "$seconds"
    printf '| load | build | operations | CPU an operation | p99 | command |\n|---|---|---|---|---|---|\n'
    load "random reads, depth 32" "" --depth 32
    load "random reads, depth 128" "" --depth 128
    load "random reads, depth 1" "" --depth 1
    load "random reads, depth 1, polling" "--poll-max-us 50" --depth 1
    load "random writes, depth 32" "" --depth 32 --rw randwrite
    for image in a b; do rm "$work/$image.img" && dd if=/dev/zero of="$work/$image.img" bs=1M count=$image_mib status=none; done
    load "the same, in large folios" "" --depth 32 --rw randwrite
    queues=2 processors=0-1 client=0-1 load "2 queues, a client of 2 threads" "--reactors 2 --cpus 0,1" --depth 32 --queues 2
    many 1
    many 4
  else
    printf '\nA vhost-user disk was not measured: there is no `qemu-storage-daemon` (apt-get install qemu-system-common).\n'
  fi

  if command -v dpdk-testpmd >/dev/null && ip netns add "$network" 2>/dev/null; then
    printf '\n### Frames of a guest into a TAP, against DPDK (`net_vhost` and `net_tap` of `dpdk-testpmd`)\n\n'
    printf 'A driver that polls (`net_virtio_user`) on processor 1, the back-end on 0, %s s each. DPDK polls: its processor is always busy.\n\n' "$seconds"
    printf '| frames of | build | frames | CPU a frame |\n|---|---|---|---|\n'
    frames 64
    frames 1500
  else
    printf '\nFrames were not measured against DPDK: that takes root and `dpdk-testpmd` (apt-get install dpdk-dev iproute2).\n'
  fi
  if command -v iperf3 >/dev/null && command -v linux.uml >/dev/null && [ "$(id -u)" = 0 ]; then
    printf '\n### The network of a real guest, against its own machine'"'"'s driver of a TAP\n\n'
    printf 'User Mode Linux: `virtio_uml` against its own vector driver. QEMU, which emulates the processor here: `vhost-user` against its own `tap`.\n\n'
    printf '| load | ours : theirs |\n|---|---|\n'
    say "guests"
    ./tools/measure-guest.sh "$VMM_TOOL" "$((seconds / 2 + 1))" 2
  else
    printf '\nNo guest was measured: that takes root, iperf3 and User Mode Linux (apt-get install iperf3 user-mode-linux qemu-system-x86 cpio iproute2).\n'
  fi
  printf '\nMeasured in %s min %s s by `./tools/measure.sh%s`.\n\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) "${quick:+ --quick}"
} >"$work/page"

awk -v tables="$work/page" '
  $0 == "<!-- measured -->" { print; while ((getline line < tables) > 0) print line; skip = 1 }
  $0 == "<!-- end -->" { skip = 0 }
  !skip { if ($0 != "<!-- measured -->") print }' "$page" >"$work/new"
cat "$work/new" >"$page"
say "written to $page"
