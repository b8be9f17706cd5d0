#!/usr/bin/env bash
# Packs the published file (tools/publish.sh) for those who install it: a Debian package, a .NET tool, and an OCI image layout.
#   ./tools/package.sh [OUTPUT]      OUTPUT is artifacts/packages by default; VMM_TOOL names another file than artifacts/vmm/vmm.
# Needs dpkg-deb (dpkg), gzip, and for the tool package the .NET SDK. The same file gives the same bytes, but for the tool package.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
output=${1:-$repository/artifacts/packages}
# A terminal sees what takes long, in a line that goes at the end; a file or a pipe sees nothing of it.
step() { [ ! -t 2 ] || printf '\r\033[K%s' "${1:+package: $1}" >&2; }
refuse() { step; echo "package: $1" >&2; exit 1; }

for program in dpkg-deb gzip sha256sum ldd dotnet; do
  command -v "$program" >/dev/null || refuse "there is no '$program': install dpkg, gzip, coreutils, libc-bin and the .NET 10 SDK"
done
vmm=${VMM_TOOL:-$repository/artifacts/vmm/vmm}
[ -n "${VMM_TOOL:-}" ] || "$repository/tools/publish.sh"
[ -x "$vmm" ] || refuse "there is no program '$vmm': run ./tools/publish.sh, or name one in VMM_TOOL"
mkdir -p "$output" 2>/dev/null && [ -w "$output" ] || refuse "cannot write to '$output': name another directory, as in $0 /tmp/packages"
output=$(cd "$output" && pwd)
made=$(mktemp -d "$output/.package-XXXXXX")
trap 'step; rm -rf "$made"' EXIT

full=$("$vmm" --version) || refuse "'$vmm' does not run"
version=${full%%+*}
# Debian sorts what comes after a tilde before the version itself.
debian=${version/-/\~}
# Every time that gets into a package is that of the sources.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repository" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
umask 022
flat() { tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" "$@"; }

# Man pages, completions and units below a root.
root=$made/root
mkdir -p "$root"/usr/{bin,lib/systemd/system,share/man/man1,share/doc/vmm,share/bash-completion/completions,share/zsh/vendor-completions} \
  "$root/usr/share/fish/vendor_completions.d" "$root/etc/vmm"
step "manual pages, completion, units"
install -m 755 "$vmm" "$root/usr/bin/vmm"
"$vmm" manual | while read -r page; do "$vmm" manual "$page" | gzip -9n >"$root/usr/share/man/man1/$page.1.gz"; done
"$vmm" completion bash >"$root/usr/share/bash-completion/completions/vmm"
"$vmm" completion zsh >"$root/usr/share/zsh/vendor-completions/_vmm"
"$vmm" completion fish >"$root/usr/share/fish/vendor_completions.d/vmm.fish"
install -m 644 "$repository"/tools/packaging/systemd/* "$root/usr/lib/systemd/system/"
install -d "$root/usr/share/vmm"
"$vmm" config schema >"$root/usr/share/vmm/vmm.schema.json"
# For guests of 'vmm boot': devices come and go without a hand.
install -D -m 755 "$repository/tools/packaging/guest/vmm-places" "$root/usr/share/vmm/guest/vmm-places"
install -m 644 "$repository/tools/packaging/guest/90-vmm-places.rules" "$root/usr/share/vmm/guest/90-vmm-places.rules"
# Where QEMU's conventions and libvirt look for back-end programs.
install -D -m 644 "$repository/tools/packaging/qemu/60-vmm-block.json" "$root/usr/share/qemu/vhost-user/60-vmm-block.json"
install -D -m 755 "$repository/tools/packaging/qemu/vhost-user-blk" "$root/usr/libexec/vmm/vhost-user-blk"
install -m 644 "$repository/LICENSE" "$root/usr/share/doc/vmm/copyright"
gzip -9nc "$repository/CHANGELOG.md" >"$root/usr/share/doc/vmm/changelog.gz"
# What the file is made of, with hashes and licences; its time is that of the sources.
(
  cd "$repository"
  dotnet tool restore --verbosity quiet
  # Always: packing, below, leaves another list of packages behind.
  dotnet restore tools/vmm -r linux-x64 -v quiet
  dotnet tool run dotnet-CycloneDX -- tools/vmm/vmm.csproj --output "$made" --filename bom.json --output-format Json --spec-version 1.6 \
    --no-serial-number --disable-package-restore --set-name vmm --set-version "$version"
) >"$made/log" 2>&1 || { tail -n 20 "$made/log" >&2; refuse "the bill of materials cannot be made; the lines above say why"; }
sed "0,/\"timestamp\"/s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)\"/" "$made/bom.json" \
  >"$root/usr/share/doc/vmm/vmm.cdx.json"

# 1. The Debian package.
step "1 of 3, the Debian package"
mkdir "$root/DEBIAN"
sed -e "s/@VERSION@/$debian/" -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f 1)/" "$repository/tools/packaging/control" >"$root/DEBIAN/control"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
install -m 755 "$repository"/tools/packaging/{postinst,prerm,postrm} "$root/DEBIAN/"
deb=vmm_${debian}_amd64.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$made/$deb" >/dev/null
rm -r "$root/DEBIAN"

# 2. The .NET tool: needs the ASP.NET Core runtime where it is installed, for the API, and no more.
step "2 of 3, the .NET tool"
dotnet pack "$repository/tools/vmm" -c Release -v quiet --nologo -p:IsPackable=true -p:PackAsTool=true -p:RunAnalyzers=false -o "$made/tool" \
  >"$made/log" 2>&1 || { grep -E 'error|warning' "$made/log" | sort -u >&2; refuse "the tool package cannot be built; the lines above say why"; }

# 3. The image: one layer, with the file and the C libraries it needs.
step "3 of 3, the image"
layer=$made/layer
mkdir -p "$layer/usr/bin" "$layer/usr/share/doc" "$layer/run/vmm" "$layer/tmp"
chmod 1777 "$layer/tmp"
cp "$root/usr/bin/vmm" "$layer/usr/bin/"
ldd "$vmm" | grep -o '/[^ :)]*\.so[^ :)]*' | sort -u | while read -r library; do install -D -m 755 "$library" "$layer$library"; done
cp -r "$root/usr/share/doc/vmm" "$layer/usr/share/doc/"
[ ! -f /usr/share/doc/libc6/copyright ] || install -D -m 644 /usr/share/doc/libc6/copyright "$layer/usr/share/doc/libc6/copyright"
flat -C "$layer" -cf "$made/layer.tar" .
image=$made/image
mkdir -p "$image/blobs/sha256"
# Puts a file among the blobs, under its checksum, and prints its descriptor.
blob() {
  local sum size
  sum=$(sha256sum "$1" | cut -d ' ' -f 1); size=$(stat -c %s "$1")
  mv "$1" "$image/blobs/sha256/$sum"
  printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}' "$2" "$sum" "$size"
}
unpacked=$(sha256sum "$made/layer.tar" | cut -d ' ' -f 1)
gzip -9n "$made/layer.tar"
layers=$(blob "$made/layer.tar.gz" application/vnd.oci.image.layer.v1.tar+gzip)
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
cat >"$made/config.json" <<JSON
{"created":"$created","architecture":"amd64","os":"linux",
 "config":{"Entrypoint":["/usr/bin/vmm"],"Cmd":["--help"],"StopSignal":"SIGTERM","Labels":{"org.opencontainers.image.title":"vmm",
  "org.opencontainers.image.version":"$version","org.opencontainers.image.licenses":"MIT"}},
 "rootfs":{"type":"layers","diff_ids":["sha256:$unpacked"]},
 "history":[{"created":"$created","created_by":"tools/package.sh"}]}
JSON
config=$(blob "$made/config.json" application/vnd.oci.image.config.v1+json)
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}\n' "$config" "$layers" >"$made/manifest.json"
manifest=$(blob "$made/manifest.json" application/vnd.oci.image.manifest.v1+json)
printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}\n' "${manifest%\}}" "$version" >"$image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}\n' >"$image/oci-layout"
flat -C "$image" -cf "$made/vmm_${version}_oci.tar" blobs index.json oci-layout

step
for package in "$made/$deb" "$made/vmm_${version}_oci.tar" "$made"/tool/*; do
  mv "$package" "$output/"
  echo "$output/$(basename "$package")"
done
