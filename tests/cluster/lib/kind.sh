# shellcheck shell=bash
# The same cluster through kind, which needs Docker and image pulls. Best effort: sets GPUs, but not the memory of nodes.

kind_cluster=modelcache

require_kind() {
	docker info >/dev/null 2>&1 ||
		fail "--kind needs Docker, which does not respond" "Omit --kind to start a cluster without a container engine."
	command -v kind >/dev/null || fail "--kind needs kind on PATH" "Install kind, or omit --kind."
}

kind_up() {
	local number gpus
	mkdir -p "$state"
	if ! kind get clusters 2>/dev/null | grep -qx "$kind_cluster"; then
		{
			printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n'
			for number in $(node_numbers); do printf -- '- role: worker\n'; done
		} | kind create cluster --name "$kind_cluster" --kubeconfig "$kubeconfig" --wait 180s --config - >&2
	else
		kind export kubeconfig --name "$kind_cluster" --kubeconfig "$kubeconfig" >&2
	fi
	for number in $(node_numbers); do
		gpus=$(shape_of "node$number.gpus" '')
		if [[ -z $gpus ]]; then continue; fi
		kubectl_here patch node "$(kind_node "$number")" --subresource status --type merge \
			--patch "{\"status\":{\"capacity\":{\"nvidia.com/gpu\":\"${gpus%%:*}\"}}}" >/dev/null
		if [[ $gpus == *:* ]]; then
			kubectl_here label node "$(kind_node "$number")" --overwrite "nvidia.com/gpu.memory=${gpus#*:}" >/dev/null
		fi
	done
}

# The name of a node in kind: worker, worker2, worker3.
kind_node() {
	if [[ $1 -eq 1 ]]; then printf '%s-worker' "$kind_cluster"; else printf '%s-worker%s' "$kind_cluster" "$1"; fi
}

kind_down() {
	kind delete cluster --name "$kind_cluster" --kubeconfig "$kubeconfig" >&2
}

kind_host_ip() {
	docker network inspect kind --format '{{range .IPAM.Config}}{{println .Gateway}}{{end}}' | grep -m 1 '\.'
}
