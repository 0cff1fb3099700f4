# shellcheck shell=bash
# A node: its own address on the bridge, containerd, kubelet and cgroup. One machine runs several nodes.

node_folder() { printf '%s/node%s' "$state" "$1"; }

containerd_socket() { printf '%s/containerd.sock' "$(node_folder "$1")"; }

on_containerd() {
	local number=$1
	shift
	"$(program ctr)" --address "$(containerd_socket "$number")" --namespace k8s.io "$@"
}

write_containerd_config() {
	local folder
	folder=$(node_folder "$1")
	mkdir -p "$folder/cni/config" "$folder/cni/leases"
	cat >"$folder/cni/config/10-modelcache.conflist" <<-JSON
		{
		  "cniVersion": "1.0.0",
		  "name": "modelcache",
		  "plugins": [
		    {
		      "type": "bridge",
		      "bridge": "$bridge",
		      "hairpinMode": true,
		      "ipam": {
		        "type": "host-local",
		        "dataDir": "$folder/cni/leases",
		        "ranges": [[{
		          "subnet": "$cluster_range",
		          "rangeStart": "10.244.$1.2", "rangeEnd": "10.244.$1.254",
		          "gateway": "$host_ip"
		        }]],
		        "routes": [{"dst": "0.0.0.0/0", "gw": "$host_ip"}]
		      }
		    },
		    {"type": "portmap", "capabilities": {"portMappings": true}}
		  ]
		}
	JSON
	# restrict_oom_score_adj: otherwise every sandbox fails without CAP_SYS_RESOURCE.
	cat >"$folder/containerd.toml" <<-TOML
		version = 3
		root = "$folder/containerd"
		state = "$folder/containerd-state"
		disabled_plugins = ["io.containerd.nri.v1.nri"]

		[grpc]
		address = "$(containerd_socket "$1")"

		[plugins."io.containerd.cri.v1.images"]
		[plugins."io.containerd.cri.v1.images".pinned_images]
		sandbox = "$pause_image"

		[plugins."io.containerd.cri.v1.runtime"]
		restrict_oom_score_adj = true
		netns_mounts_under_state_dir = true
		[plugins."io.containerd.cri.v1.runtime".cni]
		bin_dirs = ["/usr/lib/cni"]
		conf_dir = "$folder/cni/config"
		[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
		runtime_type = "io.containerd.runc.v2"
		[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
		BinaryName = "$(program runc)"
		SystemdCgroup = false
	TOML
}

start_containerd() {
	local folder
	folder=$(node_folder "$1")
	if is_running "containerd-$1"; then return; fi
	write_containerd_config "$1"
	# containerd finds its shim on PATH, so ours comes first.
	PATH=$(product_folder containerd):$(product_folder runc):$PATH \
		start_process "containerd-$1" "$(program containerd)" --config "$folder/containerd.toml"
	wait_for_process "containerd-$1" 60 on_containerd "$1" version
}

# Writes the kubelet's configuration; true if it has changed.
write_kubelet_config() {
	local folder memory reserved=0 file
	folder=$(node_folder "$1")
	file=$folder/kubelet.yaml
	mkdir -p "$folder/kubelet" "$folder/pods" "$folder/volumes"
	memory=$(shape_of "node$1.memory" '')
	if [[ -n $memory ]]; then reserved=$(($(machine_memory) - memory - kubelet_keeps_free)); fi
	# Only the cluster's DNS, which does not forward other names.
	printf 'nameserver %s\n' "$dns_service_ip" >"$folder/resolv.conf"
	cat >"$file.new" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		address: $(node_ip "$1")
		port: 10250
		readOnlyPort: 0
		healthzBindAddress: 127.0.0.1
		healthzPort: $(kubelet_health_port "$1")
		authentication:
		  anonymous: {enabled: false}
		  webhook: {enabled: true}
		  x509: {clientCAFile: $certificates/ca.crt}
		authorization: {mode: Webhook}
		containerRuntimeEndpoint: unix://$(containerd_socket "$1")
		clusterDomain: cluster.local
		clusterDNS: [$dns_service_ip]
		resolvConf: $folder/resolv.conf
		podLogsDir: $folder/pods
		cgroupDriver: cgroupfs
		cgroupRoot: $(node_cgroup "$1")
		failCgroupV1: false
		failSwapOn: false
		makeIPTablesUtilChains: false
		enableServer: true
		oomScoreAdj: 0
		serializeImagePulls: false
		imageGCHighThresholdPercent: 100
		evictionHard:
		  memory.available: "$kubelet_keeps_free"
		  nodefs.available: "1%"
		  nodefs.inodesFree: "1%"
		  imagefs.available: "1%"
		systemReserved:
		  memory: "$reserved"
	YAML
	if cmp -s "$file" "$file.new"; then
		rm "$file.new"
		return 1
	fi
	mv "$file.new" "$file"
}

kubelet_keeps_free=$((50 << 20))

kubelet_health_port() { printf '1024%s' "$1"; }

kubelet_is_healthy() { responds "http://127.0.0.1:$(kubelet_health_port "$1")/healthz"; }

start_kubelet() {
	local number=$1
	if write_kubelet_config "$number" && is_running "kubelet-$number"; then
		say "node$number: restarting the kubelet with its new configuration"
		stop_process "kubelet-$number"
	fi
	if is_running "kubelet-$number"; then return; fi
	issue_component_identity "node$number" "/O=system:nodes/CN=system:node:node$number"
	make_node_cgroup "$number"
	start_process "kubelet-$number" "$(program kubelet)" --config "$(node_folder "$number")/kubelet.yaml" \
		--kubeconfig "$certificates/node$number.kubeconfig" --hostname-override "node$number" --node-ip "$(node_ip "$number")" \
		--root-dir "$(node_folder "$number")/kubelet" --cert-dir "$(node_folder "$number")/kubelet-certificates" --v 1
}

node_is_ready() {
	kubelet_is_healthy "$1" &&
		[[ $(kubectl_here get node "node$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

wait_for_node() {
	wait_for_process "kubelet-$1" 120 node_is_ready "$1"
}

# GPUs without hardware: the kubelet keeps a capacity that it did not report itself, and makes it allocatable.
apply_node_gpus() {
	local wanted count memory current
	wanted=$(shape_of "node$1.gpus" '')
	if [[ -z $wanted ]]; then return; fi
	count=${wanted%%:*}
	current=$(kubectl_here get node "node$1" -o 'jsonpath={.status.capacity.nvidia\.com/gpu}')
	if [[ $current != "$count" ]]; then
		kubectl_here patch node "node$1" --subresource status --type merge \
			--patch "{\"status\":{\"capacity\":{\"nvidia.com/gpu\":\"$count\"},\"allocatable\":{\"nvidia.com/gpu\":\"$count\"}}}" >/dev/null
	fi
	if [[ $wanted == *:* ]]; then
		memory=${wanted#*:}
		# The label of GPU feature discovery, in MiB.
		kubectl_here label node "node$1" --overwrite "nvidia.com/gpu.memory=$memory" >/dev/null
	fi
}

stop_node() {
	stop_process "kubelet-$1"
	kill_node_containers "$1"
	stop_shims "$1"
	stop_process "containerd-$1"
}

# Shims outlive containerd by design. Ours have our socket in their arguments.
shims_of() {
	local socket file pid
	socket=$(containerd_socket "$1")
	for file in /proc/[0-9]*/cmdline; do
		if { tr '\0' ' ' <"$file"; } 2>/dev/null | grep -q -- "containerd-shim-runc-v2 .*-address $socket "; then
			pid=${file#/proc/}
			printf '%s\n' "${pid%/cmdline}"
		fi
	done
}

no_shims_left() { [[ -z $(shims_of "$1") ]]; }

stop_shims() {
	local shims
	mapfile -t shims < <(shims_of "$1")
	if [[ ${#shims[@]} -gt 0 ]]; then kill -KILL "${shims[@]}" 2>/dev/null || true; fi
	wait_until 5 no_shims_left "$1" || say "node$1: shims are still running: $(shims_of "$1" | xargs)"
}
