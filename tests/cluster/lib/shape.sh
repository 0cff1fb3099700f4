# shellcheck shell=bash
# The shape of the cluster: number of nodes, and memory and GPUs of each node. `up` changes only what its options name.
# One file per value: shape/nodes, shape/node2.memory (bytes), shape/node2.gpus (N or N:MEBIBYTES).

shape_of() { cat "$state/shape/$1" 2>/dev/null || printf '%s' "$2"; }

remember_shape() {
	mkdir -p "$state/shape"
	printf '%s' "$2" >"$state/shape/$1"
}

# The whole shape as one text, for comparison.
whole_shape() {
	if [[ -d $state/shape ]]; then (cd "$state/shape" && grep -H . -- *); fi
}

node_count() { shape_of nodes 1; }

node_numbers() { seq 1 "$(node_count)"; }

# Usage: bytes_of 24Gi
bytes_of() {
	local number=${1%%[!0-9]*} unit=${1##*[0-9]}
	[[ -n $number ]] || return 1
	case $unit in
		'') printf '%s' "$number" ;;
		Mi) printf '%s' "$((number << 20))" ;;
		Gi) printf '%s' "$((number << 30))" ;;
		*) return 1 ;;
	esac
}

machine_memory() { awk '$1 == "MemTotal:" { printf "%.0f", $2 * 1024 }' /proc/meminfo; }

# Usage: parse_node_option --gpus node2=4   Sets node_name and node_value.
# shellcheck disable=SC2034 # used by the command
parse_node_option() {
	[[ $2 =~ ^node[1-9]=.+$ ]] || fail_usage "$1 needs NODE=VALUE, such as node2=..., not: $2"
	node_name=${2%%=*}
	node_value=${2#*=}
}
