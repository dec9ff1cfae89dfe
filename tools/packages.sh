# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: installs missing Debian packages, with a bounded wait.
# shellcheck shell=bash

wanted=()
apt_log=""

say() { printf 'penstock: %s\n' "$*" >&2; }
fail() {
	say "$*"
	exit 1
}
want() { wanted+=("$@"); }

# Nothing that is installed here is meant to start: nginx would take port 80.
POLICY=/usr/sbin/policy-rc.d
policy_is_ours=""
hold_services() {
	if [ ! -e "$POLICY" ] && printf '#!/bin/sh\nexit 101\n' >"$POLICY"; then
		policy_is_ours=yes
		chmod 755 "$POLICY"
		trap release_services EXIT
	fi
}
release_services() {
	[ -z "$policy_is_ours" ] || rm -f "$POLICY"
	policy_is_ours=""
}

apt() {
	local seconds=$1
	shift
	DEBIAN_FRONTEND=noninteractive timeout --kill-after=10 "$seconds" apt-get -q -y \
		-o Acquire::http::Timeout=20 -o Acquire::Retries=1 -o DPkg::Lock::Timeout=60 "$@" \
		</dev/null >"$apt_log" 2>&1
}

# Installs what was wanted; says what it does. Fails when something is still missing.
install_wanted() {
	[ ${#wanted[@]} -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null; then
		say "missing here: ${wanted[*]} (names of Debian packages); install them by hand"
		return 1
	fi
	if [ "$(id -u)" -ne 0 ]; then
		say "missing here; as root: apt-get install ${wanted[*]}"
		return 1
	fi
	say "installing Debian packages that are missing here: ${wanted[*]}"
	apt_log=$(mktemp)
	hold_services
	if ! apt 180 update; then
		say "apt-get update did not succeed (the package registry may be unreachable)"
	fi
	local status=0 package
	if ! apt 600 install --no-install-recommends "${wanted[@]}"; then
		for package in "${wanted[@]}"; do
			apt 300 install --no-install-recommends "$package" || {
				say "cannot install $package: $(grep -m1 '^E:' "$apt_log" || echo 'no answer')"
				status=1
			}
		done
	fi
	release_services
	rm -f "$apt_log"
	wanted=()
	return $status
}
