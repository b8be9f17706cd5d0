#!/usr/bin/env bash
# Fuzzes what a hostile guest can reach: tools/fuzz.sh [TARGET…] [--seconds N] [--seed N] [--count N] [--input FILE]; --help lists the targets.
set -euo pipefail
cd "$(dirname "$0")/.."
dotnet build tools/Vmm.Fuzz -c Release -v quiet --nologo
exec dotnet artifacts/bin/Vmm.Fuzz/release/Vmm.Fuzz.dll run "$@"
