#!/usr/bin/env bash
# Builds everything, runs every test, and ends with one line: N passed, N failed, N skipped. Tests that take minutes (those with the trait
# Long=true) run with --long only. With --sandbox every 'vmm serve' and 'vmm boot' of theirs takes the whole sandbox or ends, and ends at a
# system call that its table lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
filter=(--filter "Long!=true")
for argument in "$@"; do
  case $argument in
    --long) filter=() ;;
    --sandbox) export VMM_SANDBOX=require VMM_SANDBOX_ACTION=kill ;;
    *) echo "usage: $0 [--long] [--sandbox]" >&2; exit 2 ;;
  esac
done

need=()
command -v cc >/dev/null || need+=(gcc libc6-dev)
# The guest of tests/Vmm.EndToEnd: QEMU, and what tools/guest/build.sh packs an initramfs with.
command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
command -v cpio >/dev/null || need+=(cpio)
# script(1), which makes a terminal for the tests of consoles.
command -v script >/dev/null || need+=(bsdutils)
# Opens images as QEMU does.
command -v qemu-io >/dev/null || need+=(qemu-utils)
# NBD servers, and a Ceph cluster (tools/ceph.sh).
command -v nbdkit >/dev/null || need+=(nbdkit)
command -v ceph-mon >/dev/null || need+=(ceph-mon)
command -v ceph-osd >/dev/null || need+=(ceph-osd)
command -v rbd >/dev/null || need+=(ceph-common)
[ -e /usr/lib/x86_64-linux-gnu/librbd.so.1 ] || need+=(librbd1)
# The database and the file system of the power cuts.
command -v sqlite3 >/dev/null || need+=(sqlite3)
command -v e2fsck >/dev/null || need+=(e2fsprogs)
# The ordinary program that guests talk to over vsock.
command -v socat >/dev/null || need+=(socat)
# What reaches the sockets of another host.
command -v ssh >/dev/null || need+=(openssh-client)
[ -x /usr/sbin/sshd ] || need+=(openssh-server)
# The guest that runs at native speed without KVM.
command -v linux.uml >/dev/null || need+=(user-mode-linux)
# A front-end that polls.
command -v dpdk-testpmd >/dev/null || need+=(dpdk-dev)
# Firmware and a boot loader that start from our disk, and what makes that disk.
[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || need+=(ovmf)
[ -e /usr/share/seabios/bios-256k.bin ] || need+=(seabios)
[ -e /usr/lib/u-boot/qemu-x86_64/u-boot.rom ] || need+=(u-boot-qemu)
[ -e /usr/lib/ipxe/qemu/pxe-virtio.rom ] || need+=(ipxe-qemu)
[ -d /usr/lib/grub/x86_64-efi ] || need+=(grub-efi-amd64-bin)
[ -d /usr/lib/grub/i386-pc ] || need+=(grub-pc-bin)
# What iPXE asks for an address and a script.
[ -e /usr/sbin/dnsmasq ] || need+=(dnsmasq-base)
command -v grub-mkimage >/dev/null || need+=(grub-common)
command -v mformat >/dev/null || need+=(mtools)
# What the guests' networks are made of, and met with.
command -v ip >/dev/null || need+=(iproute2)
command -v ping >/dev/null || need+=(iputils-ping)
command -v curl >/dev/null || need+=(curl)
# Reads what a network card's frames were written into.
command -v tcpdump >/dev/null || need+=(tcpdump)
# A network without root.
command -v passt >/dev/null || need+=(passt)
# A manager of machines, without its service. Debian asks for some more by recommendation, which we do without.
command -v libvirtd >/dev/null || need+=(libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients)
# The reference compiler of ACPI, which reads our tables.
command -v iasl >/dev/null || need+=(acpica-tools)
# Looks for inputs by coverage (tools/fuzz.sh --coverage).
command -v afl-fuzz >/dev/null || need+=(afl++)
# Lists the system calls that a service makes.
command -v strace >/dev/null || need+=(strace)
# Looks at the units, and starts services by their sockets.
command -v systemd-socket-activate >/dev/null || need+=(systemd)
# The shells that commands are completed in, and what renders the manual pages.
command -v zsh >/dev/null || need+=(zsh)
command -v fish >/dev/null || need+=(fish)
command -v groff >/dev/null || need+=(groff-base)
# Another reader of the schema of configuration files.
python3 -c 'import jsonschema, tomllib' 2>/dev/null || need+=(python3-jsonschema)
# Makes clean systems, and looks at container images.
command -v mmdebstrap >/dev/null || need+=(mmdebstrap)
command -v skopeo >/dev/null || need+=(skopeo)
# Scrapes measurements, and answers queries about them.
command -v prometheus >/dev/null || need+=(prometheus)
# The browser that the page is tried in.
[ -x /usr/bin/chromium ] || need+=(chromium fonts-dejavu-core)
# Makes a file system whose files share blocks, and shows which.
command -v mkfs.xfs >/dev/null || [ -x /usr/sbin/mkfs.xfs ] || need+=(xfsprogs)
command -v filefrag >/dev/null || [ -x /usr/sbin/filefrag ] || need+=(e2fsprogs)
# Reads core files.
command -v gdb >/dev/null || need+=(gdb)
if [ "${#need[@]}" -gt 0 ]; then
  sudo=""; [ "$(id -u)" -eq 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

dotnet build vmm.sln -c Release -v quiet --nologo
dotnet format vmm.sln --no-restore --verify-no-changes
# The tests run the tool as it is installed: one native file.
./tools/publish.sh
export VMM_TOOL=$PWD/artifacts/vmm/vmm
# A reference that points nowhere is a failure.
./tools/docs.sh

passed=0 failed=0 skipped=0 status=0
for project in tests/*/*.csproj; do
  log=$(mktemp)
  dotnet test "$project" -c Release --no-build --nologo "${filter[@]}" \
    --blame-hang-timeout 10m --blame-hang-dump-type none --results-directory artifacts/test-results 2>&1 | tee "$log" || status=1
  count() { { grep -aoE "$1: +[0-9]+" "$log" || true; } | tail -n 1 | grep -oE '[0-9]+' || echo 0; }
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
[ -z "${VMM_CLONED:-}" ] || echo "from git clone to the end of the tests: $(($(date +%s) - VMM_CLONED)) s"
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
