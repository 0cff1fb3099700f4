# shellcheck shell=bash
# etcd, the API server, the controllers, the scheduler and the Service proxy: one of each, on the host.

# Without the bridge, requests to its addresses would leave this machine.
bridge_is_up() { [[ -d /sys/class/net/$bridge ]]; }

kubectl_here() {
	if [[ $(cluster_kind) == local ]] && ! bridge_is_up; then
		say "the cluster's bridge is missing; repair it: $cluster_source/up"
		return 1
	fi
	kubectl --kubeconfig "$kubeconfig" "$@"
}

# Usage: responds CURL-ARGUMENT...   True if the URL responds. Never uses a proxy.
responds() { bridge_is_up && curl --noproxy '*' --silent --fail --output /dev/null --max-time 3 "$@"; }

api_server_is_ready() { responds --cacert "$certificates/ca.crt" "$api_server/readyz"; }

start_etcd() {
	start_process etcd "$(program etcd)" --name modelcache-test --data-dir "$state/etcd" \
		--listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
		--listen-peer-urls "http://127.0.0.1:$etcd_peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
		--initial-cluster "modelcache-test=http://127.0.0.1:$etcd_peer_port" \
		--unsafe-no-fsync --log-level warn --auto-compaction-retention 5m
}

start_api_server() {
	start_process kube-apiserver "$(program kube-apiserver)" --etcd-servers "http://127.0.0.1:$etcd_port" \
		--bind-address "$host_ip" --secure-port "${api_server##*:}" --advertise-address "$host_ip" \
		--tls-cert-file "$certificates/api-server.crt" --tls-private-key-file "$certificates/api-server.key" \
		--client-ca-file "$certificates/ca.crt" \
		--kubelet-client-certificate "$certificates/api-server-to-kubelet.crt" \
		--kubelet-client-key "$certificates/api-server-to-kubelet.key" \
		--kubelet-preferred-address-types InternalIP \
		--service-account-issuer https://kubernetes.default.svc.cluster.local \
		--service-account-key-file "$certificates/service-account.pub" \
		--service-account-signing-key-file "$certificates/service-account.key" \
		--service-cluster-ip-range "$service_range" \
		--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
		--allow-privileged --profiling=false
}

start_controllers() {
	start_process kube-controller-manager "$(program kube-controller-manager)" \
		--kubeconfig "$certificates/controller-manager.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
		--service-account-private-key-file "$certificates/service-account.key" --root-ca-file "$certificates/ca.crt" \
		--cluster-signing-cert-file "$certificates/ca.crt" --cluster-signing-key-file "$certificates/ca.key" \
		--use-service-account-credentials --profiling=false
	start_process kube-scheduler "$(program kube-scheduler)" \
		--kubeconfig "$certificates/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false --profiling=false
}

# One proxy serves all nodes, because they share the host's packet filter.
start_proxy() {
	program kube-proxy >"$state/proxy-program"
	start_process kube-proxy "$(program kube-proxy)" --kubeconfig "$certificates/proxy.kubeconfig" --hostname-override node1 \
		--proxy-mode iptables --iptables-localhost-nodeports=false --cluster-cidr "$cluster_range" --conntrack-max-per-core 0 \
		--healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249
}

start_control_plane() {
	start_etcd
	start_api_server
	wait_for_process kube-apiserver 120 api_server_is_ready
	start_controllers
}

control_plane_processes=(kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd)

stop_control_plane() {
	local name proxy
	# Stops all at once with a short grace period, because their state is deleted next.
	ask_to_stop "${control_plane_processes[@]}"
	for name in "${control_plane_processes[@]}"; do
		stop_process "$name" 1
	done
	# The chains have fixed names. Removes them only if our proxy created them, with the same version of it.
	proxy=$(cat "$state/proxy-program" 2>/dev/null || true)
	if [[ -x $proxy ]]; then "$proxy" --cleanup >>"$component_logs/kube-proxy.log" 2>&1 || true; fi
}
