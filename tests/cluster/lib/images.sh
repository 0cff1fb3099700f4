# shellcheck shell=bash
# Builds the images that the cluster itself runs, since none can be pulled, and imports images into nodes.

# Usage: build_image NAME CONTAINERFILE CONTEXT ARCHIVE
build_image() {
	local name=$1 containerfile=$2 context=$3 archive=$4
	buildah bud --quiet --isolation chroot --tag "$name" --file "$containerfile" "$context" >/dev/null ||
		fail "buildah failed to build $name"
	save_image "$name" "$archive"
}

# Usage: save_image NAME ARCHIVE
save_image() {
	rm -f "$2.new"
	buildah push --quiet "$1" "oci-archive:$2.new:$1" >/dev/null || fail "buildah failed to save $1"
	mv "$2.new" "$2"
}

system_images_archive_folder() {
	printf '%s/images/%s' "$cache" "$({
		cat "$cluster_source"/images/{busybox,pause,coredns,local-path-provisioner}.Containerfile
		product_key kubernetes
		product_key local-path-provisioner
	} | sha256sum | cut -c1-12)"
}

# Builds pause, busybox, coredns and local-path-provisioner once; kept as archives.
build_system_images() {
	local folder work image
	folder=$(system_images_archive_folder)
	if [[ -d $folder ]]; then return; fi
	require_packages buildah
	say "Building the cluster's own images"
	work=$cache/images/.building
	rm -rf "$work"
	mkdir -p "$work/context" "$work/archives"
	make_busybox_root "$work/context/root"
	cp "$(program coredns)" "$(program local-path-provisioner)" "$work/context/"
	for image in pause busybox coredns local-path-provisioner; do
		build_image "modelcache.dev/test/$image:local" "$cluster_source/images/$image.Containerfile" "$work/context" "$work/archives/$image.tar"
	done
	mv "$work/archives" "$folder"
	rm -rf "$work"
}

make_busybox_root() {
	local root=$1 applet library package
	mkdir -p "$root"/{bin,etc,tmp,root}
	chmod 1777 "$root/tmp"
	update_package_lists
	package=$(mktemp -d)
	# The sandbox user of apt cannot write here.
	(cd "$package" && apt-get -qq -o APT::Sandbox::User=root download busybox >/dev/null && dpkg-deb -x busybox_*.deb unpacked) ||
		fail "failed to download the Debian package busybox"
	cp "$package/unpacked/bin/busybox" "$root/bin/busybox"
	# Copies the libraries of this machine, and the loader to the path that the program contains.
	for library in $(ldd "$root/bin/busybox" | grep -o '/[^ ]*'); do
		install -D "$library" "$root$library"
	done
	for applet in $("$root/bin/busybox" --list); do
		[[ -e $root/bin/$applet ]] || ln -s busybox "$root/bin/$applet"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
	rm -rf "$package"
}

# Usage: import_image NODE-NUMBER ARCHIVE
import_image() {
	on_containerd "$1" images import --local "$2" >>"$component_logs/images-$1.log" 2>&1 ||
		fail "node$1 failed to import $2" "See: $component_logs/images-$1.log"
}

import_system_images() {
	local number=$1 archive marker
	marker=$(node_folder "$number")/system-images
	if [[ $(cat "$marker" 2>/dev/null) == "$(system_images_archive_folder)" ]]; then return; fi
	for archive in "$(system_images_archive_folder)"/*.tar; do
		import_image "$number" "$archive"
	done
	system_images_archive_folder >"$marker"
}
