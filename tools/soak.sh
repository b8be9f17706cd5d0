#!/usr/bin/env bash
# Uses served disks for a long time (connect, pause, change memory, reboot, reconnect, from a seed) and looks whether memory and descriptors stay
# flat: tools/soak.sh [--seconds N] [--seed N]. Two hours by default.
set -euo pipefail
cd "$(dirname "$0")/.."
dotnet build tools/Vmm.Benchmarks -c Release -v quiet --nologo
exec nice -n 10 dotnet artifacts/bin/Vmm.Benchmarks/release/Vmm.Benchmarks.dll soak "$@"
