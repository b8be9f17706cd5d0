#!/usr/bin/env bash
# The terminal of the page (tools/vmm/Web/xterm) is a copy of files of an npm package, as they are there. Without an argument this compares them with
# the package that origin.txt names; with a version it takes that one instead. Needs npm, and the registry. A build needs neither.
set -euo pipefail
cd "$(dirname "$0")/vmm/Web/xterm"
refuse() { echo "xterm: $1" >&2; exit 1; }
command -v npm >/dev/null || refuse "there is no 'npm': install it (apt-get install npm)"
version=${1:-$(grep -oE '@xterm/xterm [0-9.]+' origin.txt | cut -d' ' -f2)}
got=$(mktemp -d)
trap 'rm -rf "$got"' EXIT
npm pack "@xterm/xterm@$version" --silent --pack-destination "$got" >/dev/null
package=$got/xterm-xterm-$version.tgz
tar -xzf "$package" -C "$got"
hash="sha512-$(openssl dgst -sha512 -binary "$package" | base64 -w0)"
declare -A from=([xterm.mjs]=lib/xterm.mjs [xterm.css]=css/xterm.css [LICENSE.txt]=LICENSE)
if [ $# -eq 0 ]; then
  grep -qF "package $hash" origin.txt || refuse "the registry's package $version is not the one of origin.txt"
  for file in "${!from[@]}"; do cmp "$got/package/${from[$file]}" "$file" || refuse "'$file' is not the package's"; done
  echo "the files are those of @xterm/xterm $version"
  exit 0
fi
for file in "${!from[@]}"; do cp "$got/package/${from[$file]}" "$file"; done
{
  printf 'The terminal of the page: @xterm/xterm %s of the npm registry, MIT. tools/xterm.sh takes these files from there, and compares.\n\n' "$version"
  echo "package $hash"
  for file in xterm.mjs xterm.css LICENSE.txt; do echo "$file sha256 $(sha256sum "$file" | cut -d' ' -f1)"; done
} >origin.txt
