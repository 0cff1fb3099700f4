# shellcheck shell=bash
# The cluster as a whole: its kind, lock and health. Sources all other files.

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$lib/messages.sh"
source "$lib/paths.sh"
source "$lib/settings.sh"
source "$lib/packages.sh"
source "$lib/products.sh"
source "$lib/processes.sh"
source "$lib/shape.sh"
source "$lib/certificates.sh"
source "$lib/cgroups.sh"
source "$lib/network.sh"
source "$lib/control_plane.sh"
source "$lib/images.sh"
source "$lib/node.sh"
source "$lib/addons.sh"
source "$lib/kind.sh"
PATH=$(built_programs_path):/usr/sbin:/sbin:$PATH

# The kind of the running cluster: local, kind or none.
cluster_kind() { cat "$state/kind" 2>/dev/null || printf 'none'; }

require_cluster() {
	[[ $(cluster_kind) != none ]] || fail "no cluster is running" "Start one: $cluster_source/up"
}

# Never changes a cluster that these commands did not start: a KUBECONFIG that names one is an error, not overridden.
refuse_foreign_kubeconfig() {
	if [[ -n ${KUBECONFIG:-} && $KUBECONFIG != "$kubeconfig" ]]; then
		fail "KUBECONFIG names a cluster that this command did not start: $KUBECONFIG" "$@"
	fi
}

lock_cluster() {
	mkdir -p "$(dirname "$state")"
	exec 9>"$state.lock"
	if ! flock --nonblock 9; then
		say "Waiting for another up or down to finish"
		flock 9
	fi
}

# After a restart of the machine, the records of the old containers remain and confuse containerd.
forget_earlier_boot() {
	local boot number
	boot=$(</proc/sys/kernel/random/boot_id)
	if [[ -e $state/boot && $(<"$state/boot") != "$boot" ]]; then
		say "The machine was restarted: recovering the cluster"
		rm -rf "$state/processes"
		for number in $(seq 1 "$max_nodes"); do
			rm -rf "$(node_folder "$number")/containerd-state"
		done
	fi
	printf '%s' "$boot" >"$state/boot"
}

# True if every program runs and every node is ready.
local_cluster_is_healthy() {
	local name number
	for name in "${control_plane_processes[@]}"; do is_running "$name" || return 1; done
	api_server_is_ready && names_resolve || return 1
	for number in $(node_numbers); do
		is_running "containerd-$number" && is_running "kubelet-$number" && node_is_ready "$number" || return 1
	done
}

# Unmounts everything below the cluster's folder, deepest first.
unmount_state() {
	local target
	awk -v below="$state/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r target; do
		umount "$target" 2>/dev/null || umount --lazy "$target" || say "still mounted: $target"
	done
}
