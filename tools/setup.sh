#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets up .venv with the locked dependencies, the compiled datapath and the penstock command.
#
#   tools/setup.sh run    what running penstock takes
#   tools/setup.sh dev    and what its tests take
#
# System packages are installed only where one is missing, and only by root.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/packages.sh

python=""
find_python() {
	local name
	for name in python3 python3.14 python3.13 python3.12 python3.11; do
		if command -v "$name" >/dev/null &&
			"$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
			python=$name
			return
		fi
	done
	return 1
}

has_libbpf() {
	"${python:-python3}" -c 'import ctypes; ctypes.CDLL("libbpf.so.1")' 2>/dev/null
}

find_python || want python3
command -v ip >/dev/null || want iproute2
has_libbpf || want libbpf1
# Debian and Ubuntu keep the installer of pip apart from Python.
"${python:-python3}" -c 'import ensurepip, venv' 2>/dev/null || want python3-venv
install_wanted || { [ "$(id -u)" -ne 0 ] || exit 1; }
find_python || fail "Python 3.11 or later is needed"

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
	say "making .venv with $("$python" --version)"
	rm -rf .venv
	"$python" -m venv .venv || fail "cannot make .venv; as root: apt-get install python3-venv"
fi

pip_install() {
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input \
		--root-user-action ignore --timeout 30 "$@"
}
pip_install_locked() {
	pip_install --require-hashes -r "requirements/$1.lock" ||
		fail "cannot install requirements/$1.lock: see above; is PyPI reachable?"
}

say "installing what requirements/$1.lock pins"
pip_install_locked "$1"
if ! .venv/bin/python hatch_build.py --has-compilers; then
	say "a compiler is missing here: compiling with ziglang from PyPI (about 100 MB, once)"
	pip_install_locked compiler
elif [ "$1" = dev ]; then
	pip_install_locked compiler # the tests try what either compiler makes
fi
say "compiling the datapath, installing the penstock command"
pip_install --no-deps --no-build-isolation --editable . || fail "the build failed: see above"
touch .venv/.run ".venv/.$1" # for make: the development set-up holds the other
say "ready: .venv/bin/penstock"
