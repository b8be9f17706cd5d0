#!/usr/bin/env bash
# Makes the tool as one native file that needs no .NET: OUTPUT/vmm, and its debug symbols OUTPUT/vmm.dbg. OUTPUT is artifacts/vmm by default.
# The same sources give the same bytes, wherever they lie. Needs the .NET SDK and a C compiler that links.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
output=${1:-$repository/artifacts/vmm}
# A terminal sees what takes long, in a line that goes at the end; a file or a pipe sees nothing of it.
step() { [ ! -t 2 ] || printf '\r\033[K%s' "${1:+publish: $1}" >&2; }
refuse() { step; echo "publish: $1" >&2; exit 1; }

command -v dotnet >/dev/null || refuse "there is no 'dotnet': install the .NET 10 SDK (https://dot.net)"
for program in gcc objcopy; do
  command -v "$program" >/dev/null || refuse "there is no '$program': install gcc and libc6-dev (apt-get install gcc libc6-dev)"
done
mkdir -p "$output" 2>/dev/null || refuse "'$output' is no directory and cannot be made one: name another one, as in $0 /tmp/vmm"
output=$(cd "$output" && pwd)
# Built beside its place and renamed at the end: a process that runs the old file keeps it, and a failed build leaves no half file.
made=$(mktemp -d "$output/.publish-XXXXXX" 2>/dev/null) || refuse "cannot write to '$output': name another directory, as in $0 /tmp/vmm"
trap 'step; rm -rf "$made"' EXIT
step "a native file is made, which takes a minute or two"
echo 'int main(void) { return 0; }' | gcc -x c - -o "$made/probe" -lm 2>/dev/null ||
  refuse "gcc cannot link a program: install libc6-dev (apt-get install libc6-dev), and look whether '$output' is full"
rm "$made/probe"

# The build of the solution runs the analyzers; here the native compiler checks. No server of the compiler stays behind.
dotnet publish "$repository/tools/vmm" -c Release -r linux-x64 -v quiet --nologo -p:RunAnalyzers=false -p:UseSharedCompilation=false \
  -nodeReuse:false -o "$made" >"$made/log" 2>&1 || {
  grep -E 'error|warning' "$made/log" | sort -u | head -n 20 >&2 || tail -n 20 "$made/log" >&2
  refuse "the build failed; the lines above say why"
}
[ -x "$made/vmm" ] || refuse "the build was ended before it was done"
mv "$made/vmm.dbg" "$made/vmm" "$output/"
