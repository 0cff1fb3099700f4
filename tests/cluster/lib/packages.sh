# shellcheck shell=bash
# Installs missing Debian packages that the commands need, and logs it.

# Usage: require_packages PACKAGE...
require_packages() {
	local package missing=()
	for package in "$@"; do
		if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
			missing+=("$package")
		fi
	done
	if [[ ${#missing[@]} -eq 0 ]]; then return; fi
	command -v apt-get >/dev/null ||
		fail "missing packages: ${missing[*]}" "This is not Debian: install their content by hand."
	require_root
	say "Installing Debian packages: ${missing[*]}"
	update_package_lists
	DEBIAN_FRONTEND=noninteractive apt_get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
		"${missing[@]}" >/dev/null </dev/null ||
		fail "apt-get failed to install: ${missing[*]}" "Run it by hand to see why: apt-get install ${missing[*]}"
}

# Serializes parallel commands, because apt has no timeout for the lock of its package lists.
apt_get() {
	mkdir -p "$cache"
	flock "$cache/apt.lock" apt-get "$@"
}

# Updates the package lists, once per run of a command.
package_lists_are_fresh=no
update_package_lists() {
	if [[ $package_lists_are_fresh == yes ]]; then return; fi
	apt_get -qq -o DPkg::Lock::Timeout=300 update >/dev/null || fail "apt-get update failed" "Check the machine's apt sources."
	package_lists_are_fresh=yes
}

require_root() {
	if [[ $EUID -ne 0 ]]; then
		fail "this command needs root for nodes, bridges and mounts on this machine" "Run it as root, or use kind: up --kind"
	fi
}
