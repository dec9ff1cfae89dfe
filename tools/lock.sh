#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Renews requirements/*.lock from pyproject.toml: pinned, with hashes, for every platform.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/uv"
"$folder/uv/bin/pip" install --quiet uv

lock() {
	local target=$1
	shift
	"$folder/uv/bin/uv" pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-emit-index-url --no-header \
		--output-file "requirements/$target.lock" "$@"
}

lock run pyproject.toml --group build
lock dev pyproject.toml --group build --group dev --constraint requirements/run.lock
lock compiler --group compiler
