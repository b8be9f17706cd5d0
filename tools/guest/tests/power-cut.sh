# The work of PowerCutWork (tests/Storage) on /dev/vda: each step writes a file and syncs it, inserts a row into a database in WAL mode, and is
# acknowledged on the console. The host keeps a log of what reached the storage, and cuts the power of that log afterwards.
for word in $(cat /proc/cmdline); do
  case $word in
    vmm.cache=*) echo "${word#vmm.cache=}" | tr - ' ' >/sys/block/vda/cache_type ;;
    vmm.rows=*) rows=${word#vmm.rows=} ;;
    vmm.bytes=*) bytes=${word#vmm.bytes=} ;;
    vmm.delete=*) every=${word#vmm.delete=} before=${word#*,} every=${every%,*} ;;
  esac
done
echo "vmm-cache $(cat /sys/block/vda/cache_type)"
/sbin/mke2fs -q -F -b 1024 -J size=2 -O extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize -E lazy_itable_init=0,lazy_journal_init=0 /dev/vda
mount -t ext4 -o discard /dev/vda /mnt
# One process holds the database open for all of the steps, or its log would be gone after each.
{
  echo "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=20; PRAGMA synchronous=FULL; CREATE TABLE rows(id INTEGER PRIMARY KEY, content BLOB);"
  echo ".shell sync; echo vmm-ready"
  row=1
  while [ "$row" -le "$rows" ]; do
    echo ".shell yes $row | head -c $bytes >/mnt/file$row && sync /mnt/file$row || kill \$PPID"
    echo "INSERT INTO rows VALUES($row, zeroblob($((100 * (row % 10)))));"
    echo ".shell echo vmm-safe $row"
    [ $((row % every)) != 0 ] || echo ".shell rm /mnt/file$((row - before))"
    row=$((row + 1))
  done
} | sqlite3 -batch -bail /mnt/rows.db
