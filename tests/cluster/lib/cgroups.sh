# shellcheck shell=bash
# The pods of each node run below the node's cgroup, /modelcache-test/nodeN, in version 1 (one hierarchy per controller) or 2.

cgroup_parent=/modelcache-test

node_cgroup() { printf '%s/node%s' "$cgroup_parent" "$1"; }

is_cgroup_v2() { [[ -e /sys/fs/cgroup/cgroup.controllers ]]; }

# The mount points of all hierarchies that hold our cgroups.
cgroup_hierarchies() {
	if is_cgroup_v2; then
		printf '/sys/fs/cgroup\n'
	else
		awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts
	fi
}

make_node_cgroup() {
	local hierarchy level
	while read -r hierarchy; do
		for level in "$cgroup_parent" "$(node_cgroup "$1")"; do
			mkdir -p "$hierarchy$level"
			if is_cgroup_v2; then
				delegate_controllers "$hierarchy$(dirname "$level")"
			elif [[ -e $hierarchy$level/cpuset.cpus ]]; then
				# A new cpuset is empty, and no process can run in it.
				cat "$hierarchy/cpuset.cpus" >"$hierarchy$level/cpuset.cpus"
				cat "$hierarchy/cpuset.mems" >"$hierarchy$level/cpuset.mems"
			fi
		done
		if is_cgroup_v2; then delegate_controllers "$hierarchy$(node_cgroup "$1")"; fi
	done < <(cgroup_hierarchies)
}

delegate_controllers() {
	local controller
	for controller in $(<"$1/cgroup.controllers"); do
		printf '+%s' "$controller" >"$1/cgroup.subtree_control" 2>/dev/null || true
	done
}

# Processes of the node's containers: everything below its cgroup, which contains only its pods.
node_container_processes() {
	local hierarchy
	while read -r hierarchy; do
		if [[ -d $hierarchy$(node_cgroup "$1") ]]; then
			find "$hierarchy$(node_cgroup "$1")" -name cgroup.procs -exec cat {} + 2>/dev/null || true
		fi
	done < <(cgroup_hierarchies) | sort -un | grep -vx 0 || true
}

node_has_no_containers() { [[ -z $(node_container_processes "$1") ]]; }

kill_node_containers() {
	local processes
	mapfile -t processes < <(node_container_processes "$1")
	if [[ ${#processes[@]} -eq 0 ]]; then return; fi
	kill -KILL "${processes[@]}" 2>/dev/null || true
	wait_until 5 node_has_no_containers "$1" || say "node$1: containers are still running"
}

remove_cgroups() {
	local hierarchy
	while read -r hierarchy; do
		if [[ -d $hierarchy$cgroup_parent ]]; then
			find "$hierarchy$cgroup_parent" -depth -type d -exec rmdir {} + 2>/dev/null || true
		fi
	done < <(cgroup_hierarchies)
}
