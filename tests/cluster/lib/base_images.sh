# shellcheck shell=bash
# Stand-ins for images that cannot be pulled here, in buildah's storage under the names that Dockerfiles use. A pulled image
# of such a name is left unchanged.

debian_image=docker.io/library/debian:bookworm-slim
distroless_image=gcr.io/distroless/cc-debian12:nonroot
rust_version=1.95
rust_image=docker.io/library/rust:$rust_version-bookworm
consumer_image=modelcache.dev/consumer:test

key_label=modelcache.dev/made-here

# Prints the key of an image that was built here; prints nothing for other images.
image_key() {
	buildah inspect --type image --format "{{index .OCIv1.Config.Labels \"$key_label\"}}" "$1" 2>/dev/null || true
}

image_exists() { buildah inspect --type image "$1" >/dev/null 2>&1; }

# Usage: image_is_current NAME KEY
image_is_current() {
	local found
	image_exists "$1" || return 1
	found=$(image_key "$1")
	if [[ -z $found ]]; then
		say "$1 exists and was not built here: left unchanged"
		return
	fi
	[[ $found == "$2" ]]
}

# The certificates that this machine trusts, for build steps that download. Mounted, never copied.
machine_certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}

# Usage: make_image NAME KEY CONTAINERFILE CONTEXT
make_image() {
	local started=$SECONDS log
	log=$cache/build-image-$(basename "$3" .Containerfile).log
	say "Building $1 (log: $log)"
	if ! buildah bud --isolation chroot --format docker --label "$key_label=$2" --tag "$1" \
		--secret "id=certificates,src=$machine_certificates" --file "$cluster_source/images/$3" "$4" >"$log" 2>&1 </dev/null; then
		tail -n 15 "$log" >&2
		fail "buildah failed to build $1" "Full log: $log"
	fi
	say "Built $1 in $((SECONDS - started)) s"
}

# Usage: key_of FILE... [-- WORD...]
key_of() {
	local key=''
	while [[ $# -gt 0 && $1 != -- ]]; do
		key+=$(sha256sum <"$1")
		shift
	done
	sha256sum <<<"$key $*" | cut -c1-16
}

debian_key() { key_of "$cluster_source/images/debian.Containerfile" "$cluster_source/lib/debian_root.sh"; }

make_debian_image() {
	local work
	if image_is_current "$debian_image" "$(debian_key)"; then return; fi
	work=$cache/.debian.making
	rm -rf --one-file-system "$work"
	mkdir -p "$work"
	make_debian_root "$work/root" "$work/root.tar"
	make_image "$debian_image" "$(debian_key)" debian.Containerfile "$work"
	rm -rf --one-file-system "$work"
}

make_distroless_image() {
	local key work
	key=$(key_of "$cluster_source/images/distroless-cc.Containerfile" -- "$(debian_key)")
	if image_is_current "$distroless_image" "$key"; then return; fi
	make_debian_image
	work=$(mktemp -d)
	make_image "$distroless_image" "$key" distroless-cc.Containerfile "$work"
	rm -rf "$work"
}

# The folder of a toolchain of the wanted version, whatever its name in rustup.
rust_toolchain() {
	local folder
	for folder in "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/*; do
		if [[ ! -L $folder && $("$folder/bin/rustc" --version 2>/dev/null) == "rustc $rust_version."* ]]; then
			printf '%s' "$folder"
			return
		fi
	done
}

make_rust_image() {
	local key work toolchain rustup name proxy
	toolchain=$(rust_toolchain)
	rustup=$(command -v rustup || true)
	[[ -n $toolchain && -n $rustup ]] ||
		fail "the Rust image contains this machine's toolchain, and rustup has no $rust_version here" \
			"Install it: rustup toolchain install $rust_version"
	name=$("$toolchain/bin/rustc" --version --verbose |
		awk '$1 == "release:" { release = $2 } $1 == "host:" { host = $2 } END { print release "-" host }')
	key=$(key_of "$cluster_source/images/rust.Containerfile" -- "$(debian_key)" "$name")
	if image_is_current "$rust_image" "$key"; then return; fi
	make_debian_image
	work=$cache/.rust.making
	rm -rf "$work"
	mkdir -p "$work/rust/cargo/bin" "$work/rust/rustup/toolchains"
	# Hard links if both are on one file system; otherwise a copy.
	cp -al "$toolchain" "$work/rust/rustup/toolchains/$name" 2>/dev/null || cp -a "$toolchain/." "$work/rust/rustup/toolchains/$name"
	rm -rf "$work/rust/rustup/toolchains/$name/share"
	printf 'version = "12"\nprofile = "minimal"\ndefault_toolchain = "%s"\n' "$name" >"$work/rust/rustup/settings.toml"
	cp -L "$rustup" "$work/rust/cargo/bin/rustup"
	for proxy in cargo cargo-clippy cargo-fmt clippy-driver rustc rustdoc rustfmt; do
		ln "$work/rust/cargo/bin/rustup" "$work/rust/cargo/bin/$proxy"
	done
	make_image "$rust_image" "$key" rust.Containerfile "$work"
	rm -rf "$work"
}

make_consumer_image() {
	local key work
	key=$(key_of "$cluster_source/images/consumer.Containerfile" "$cluster_source/images/consumer-requirements.txt" -- "$(debian_key)")
	if image_is_current "$consumer_image" "$key"; then return; fi
	make_debian_image
	work=$(mktemp -d)
	cp "$cluster_source/images/consumer-requirements.txt" "$work/requirements.txt"
	make_image "$consumer_image" "$key" consumer.Containerfile "$work"
	rm -rf "$work"
}

# Builds one image at a time, because the builds share buildah's storage and the work folders.
lock_images() {
	mkdir -p "$cache"
	exec 8>"$cache/images.lock"
	if ! flock --nonblock 8; then
		say "Waiting for another image build to finish"
		flock 8
	fi
}
