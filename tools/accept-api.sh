#!/usr/bin/env bash
# Takes the public API of both libraries as it is now for the accepted one; look at the diff before you commit it.
set -euo pipefail
cd "$(dirname "$0")/.."
for library in Events Devices; do
  VMM_ACCEPT_API=1 dotnet test "tests/Vmm.$library.Tests" -c Release --nologo -v quiet --filter FullyQualifiedName~The_public_api
done
git --no-pager diff --stat -- 'tests/*/House/PublicApi.*.txt'
