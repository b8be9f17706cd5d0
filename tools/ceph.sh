#!/usr/bin/env bash
# A Ceph cluster on loopback for tests and benchmarks: one monitor, and OSDs whose objects are in memory.
#   ceph.sh start DIR [OSDS]   starts it in DIR, with 1 OSD or more; DIR/ceph.conf is its configuration. Two copies of an object with 2 or more.
#   ceph.sh osd DIR N          starts OSD N again, which has died: it comes back empty, and the others fill it.
#   ceph.sh mon DIR            starts the monitor again, which has died.
#   ceph.sh stop DIR           ends it.
# The monitor is at VMM_CEPH_ADDRESS (127.0.0.1), ports VMM_CEPH_PORT (23300) and the one after; users have keys (cephx), in DIR/keyring. An OSD
# has room for VMM_CEPH_BYTES (1 GiB). Needs ceph-mon, ceph-osd and ceph-common.
set -euo pipefail

usage() { sed -n '2,8s/^# *//p' "$0" >&2; exit 2; }

[ $# -ge 2 ] || usage
action=$1 dir=$(realpath -m "$2") osds=${3:-1} port=${VMM_CEPH_PORT:-23300} address=${VMM_CEPH_ADDRESS:-127.0.0.1}

stop() {
  for pid in "$dir"/run/*.pid; do
    [ -s "$pid" ] || continue
    kill -9 "$(cat "$pid")" 2>/dev/null || true
    rm -f "$pid"
  done
}

mon() { CEPH_CONF=$dir/ceph.conf ceph-mon -i a </dev/null >/dev/null 2>&1; }
osd() { CEPH_CONF=$dir/ceph.conf ceph-osd -i "$1" </dev/null >/dev/null 2>&1; }

start() {
  mkdir -p "$dir"/{mon,run,log}
  # An OSD alone that stood still for longer than its lease (heartbeat grace times this) may never get it back.
  local fsid copies=1 lease=30
  fsid=$(cat /proc/sys/kernel/random/uuid)
  [ "$osds" -lt 2 ] || copies=2 lease=0.8
  cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:$address:$port,v1:$address:$((port + 1))]
public addr = $address
cluster addr = $address
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = $copies
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
osd objectstore = memstore
osd heartbeat interval = 1
osd heartbeat grace = 4
osd pool default read lease ratio = $lease
memstore device bytes = ${VMM_CEPH_BYTES:-1073741824}
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
[client]
admin socket =
CONF
  export CEPH_CONF=$dir/ceph.conf
  ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
  ceph-authtool "$dir/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  for ((i = 0; i < osds; i++)); do
    ceph-authtool "$dir/keyring" --gen-key -n "osd.$i" --cap mon 'allow profile osd' --cap osd 'allow *'
  done
  monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:$address:$port,v1:$address:$((port + 1))]" "$dir/monmap" >/dev/null
  ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
  mon
  for _ in $(seq 120); do timeout 5 ceph -s >/dev/null 2>&1 && break; sleep 0.5; done
  for ((i = 0; i < osds; i++)); do
    local uuid
    uuid=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$dir/osd$i"
    ceph osd new "$uuid" "$i" >/dev/null
    ceph-osd -i "$i" --mkfs --osd-uuid "$uuid" >/dev/null 2>&1
    osd "$i"
  done
  ceph osd pool create rbd 8 >/dev/null 2>&1
  rbd pool init rbd
}

case $action in
  start) start ;;
  mon) mon ;;
  osd) osd "${3:?which OSD}" ;;
  stop) stop ;;
  *) usage ;;
esac
