# shellcheck shell=bash
# Workloads that every cluster has: DNS (CoreDNS) and volumes (local-path-provisioner).

# The manifests contain a key of their text, so that a change replaces the pods.
render_manifest() {
	local key
	key=$(sha256sum <"$cluster_source/manifests/$1.yaml" | cut -c1-12)
	sed -e "s|HOST_IP|$host_ip|g; s|HOST_DOMAIN|$host_domain_in_pods|g; s|DNS_SERVICE_IP|$dns_service_ip|" \
		-e "s|COREDNS_IMAGE|$coredns_image|; s|LOCAL_PATH_IMAGE|$local_path_image|; s|BUSYBOX_IMAGE|$busybox_image|" \
		-e "s|STATE|$state|; s|MANIFEST_KEY|'$key'|" "$cluster_source/manifests/$1.yaml"
}

apply_addons() {
	local addon
	for addon in coredns local-path; do
		render_manifest "$addon"
		printf -- '---\n'
	done | kubectl_here apply --server-side --force-conflicts --field-manager modelcache-test-cluster --filename - >/dev/null
}

wait_for_addons() {
	if ! addons_become_ready >/dev/null; then
		fail "CoreDNS or the volume provisioner did not become ready" "See: $cluster_source/status; collect logs: $cluster_source/logs DIR"
	fi
}

addons_become_ready() {
	kubectl_here --namespace kube-system rollout status deployment coredns --timeout 90s &&
		wait_until 90 names_resolve &&
		kubectl_here --namespace local-path-storage rollout status deployment local-path-provisioner --timeout 90s &&
		kubectl_here --namespace default wait --for create --timeout 60s serviceaccount default
}

# Requests the Service, because the response proves that proxy, bridge and pod work; a status may be stale.
names_resolve() { responds "http://$dns_service_ip:8181/ready"; }
