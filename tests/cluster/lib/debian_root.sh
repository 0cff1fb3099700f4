# shellcheck shell=bash
# A minimal Debian root file system, as a tar file. The mirror is the one this machine's apt uses.

debian_release=bookworm

debian_mirror() {
	update_package_lists
	# shellcheck disable=SC2016 # apt's own placeholders
	apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $debian_release" | sort -u | head -n 1
}

# Usage: make_debian_root FOLDER TAR
make_debian_root() {
	local root=${1:?} mirror log=$cache/build-debian-root.log started=$SECONDS
	require_packages debootstrap
	mirror=$(debian_mirror)
	[[ -n $mirror ]] || fail "this machine's apt knows no mirror of Debian $debian_release" "Add one to /etc/apt/sources.list.d."
	say "Making a Debian $debian_release root file system with debootstrap (log: $log)"
	debootstrap --variant=minbase "$debian_release" "$root" "$mirror" >"$log" 2>&1 ||
		fail "debootstrap failed" "The whole log: $log"
	# Security updates as the machine has them; the image is for this machine only.
	rm -f "$root/etc/apt/sources.list"
	cp -r /etc/apt/sources.list.d "$root/etc/apt/"
	if [[ -s /etc/apt/sources.list ]]; then cp /etc/apt/sources.list "$root/etc/apt/"; fi
	rm -rf "${root:?}"/var/{cache/apt,lib/apt/lists}/* "${root:?}"/var/log/*.log \
		"${root:?}"/usr/share/{doc,man,info,locale}/* "${root:?}"/{dev,proc,sys}/*
	printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/slim"
	tar --create --file "$2" --directory "$root" --numeric-owner --one-file-system .
	rm -rf --one-file-system "$root"
	say "Made the Debian root file system in $((SECONDS - started)) s"
}
