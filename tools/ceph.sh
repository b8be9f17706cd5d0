#!/usr/bin/env bash
# A Ceph cluster on loopback for tests and benchmarks: one monitor, and OSDs whose objects are in memory.
#   ceph.sh start DIR [OSDS]   starts it in DIR, with 1 OSD or more; DIR/ceph.conf is its configuration. Two copies of an object with 2 or more.
#   ceph.sh stop DIR           ends it.
# The ports of the monitor are VMM_CEPH_PORT (23300) and the one after. Needs ceph-mon, ceph-osd and ceph-common.
set -euo pipefail

usage() { sed -n '2,5s/^# *//p' "$0" >&2; exit 2; }

[ $# -ge 2 ] || usage
action=$1 dir=$(realpath -m "$2") osds=${3:-1} port=${VMM_CEPH_PORT:-23300}

stop() {
  for pid in "$dir"/run/*.pid; do
    [ -s "$pid" ] || continue
    kill -9 "$(cat "$pid")" 2>/dev/null || true
    rm -f "$pid"
  done
}

start() {
  mkdir -p "$dir"/{mon,run,log}
  # An OSD alone that stood still for longer than its lease (heartbeat grace times this) may never get it back.
  local fsid copies=1 lease=30
  fsid=$(cat /proc/sys/kernel/random/uuid)
  [ "$osds" -lt 2 ] || copies=2 lease=0.8
  cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = $copies
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
osd objectstore = memstore
osd heartbeat interval = 1
osd heartbeat grace = 4
osd pool default read lease ratio = $lease
memstore device bytes = 1073741824
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon osd min down reporters = 1
mon osd down out interval = 5
mon data = $dir/mon
osd data = $dir/osd\$id
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
keyring = $dir/keyring
CONF
  export CEPH_CONF=$dir/ceph.conf
  ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null 2>&1
  monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]" "$dir/monmap" >/dev/null
  ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon -i a </dev/null >/dev/null 2>&1
  for _ in $(seq 120); do timeout 5 ceph -s >/dev/null 2>&1 && break; sleep 0.5; done
  for ((i = 0; i < osds; i++)); do
    local uuid
    uuid=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$dir/osd$i"
    ceph osd new "$uuid" >/dev/null
    ceph-osd -i "$i" --mkfs --osd-uuid "$uuid" >/dev/null 2>&1
    ceph-osd -i "$i" </dev/null >/dev/null 2>&1
  done
  ceph osd pool create rbd 8 >/dev/null 2>&1
  rbd pool init rbd
}

case $action in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
