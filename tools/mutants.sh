#!/usr/bin/env bash
# Changes a library one line at a time and says which changes no test notices: ./tools/mutants.sh [--project Vmm.Events] [--folder F…] [--count N] [--minutes M].
# One build serves all mutants; a run uses one processor at a low priority. The report is artifacts/mutants/PROJECT/report.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
project=Vmm.Events
for ((i = 1; i < $#; i++)); do [ "${!i}" = --project ] && next=$((i + 1)) && project=${!next}; done
dotnet build "tests/$project.Tests" -c Release -v quiet --nologo
dotnet build tools/Vmm.Mutants -c Release -v quiet --nologo
exec artifacts/bin/Vmm.Mutants/release/Vmm.Mutants "$@"
