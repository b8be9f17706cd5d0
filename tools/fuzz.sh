#!/usr/bin/env bash
# Fuzzes what a hostile guest can reach:
#   tools/fuzz.sh [TARGET…] [--seconds N] [--seed N] [--count N] [--input FILE]   random inputs, or one file; --help lists the targets
#   tools/fuzz.sh --coverage TARGET [--seconds N]                                inputs that AFL++ (apt-get install afl++) finds by coverage
#   tools/fuzz.sh --keep TARGET                                                  the best of those into the corpus of the repository
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(dotnet build tools/Vmm.Fuzz -c Release -v quiet --nologo) || { echo "$log"; exit 1; }
tool=artifacts/bin/Vmm.Fuzz/release/Vmm.Fuzz.dll
case "${1:-}" in
  --coverage) shift; exec dotnet $tool coverage "$@" ;;
  --keep) shift; exec dotnet $tool keep "$@" ;;
  *) exec dotnet $tool run "$@" ;;
esac
