#!/usr/bin/env bash
# Makes a web site of the guides, the documents and the reference of both libraries: ./tools/docs.sh, then open artifacts/docs/site/README.html.
# A link or a reference that points nowhere is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
dotnet build src/Vmm.Devices -c Release -v quiet --nologo
dotnet tool restore --verbosity quiet
rm -rf artifacts/docs
dotnet docfx .docfx.json --warningsAsErrors --logLevel warning
