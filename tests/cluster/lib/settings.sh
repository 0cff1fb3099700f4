# shellcheck shell=bash
# shellcheck disable=SC2034 # used by the files that source this one
# Names and addresses of the cluster. A machine runs one cluster at a time.

max_nodes=4

# One bridge connects the host (host_ip), the nodes (node_ip) and their pods (10.244.N.0/24), without routing.
bridge=modelcache0
host_ip=10.244.0.1
cluster_range=10.244.0.0/16
service_range=10.96.0.0/16
kubernetes_service_ip=10.96.0.1
dns_service_ip=10.96.0.10
# Pods resolve every name below this domain to the host.
host_domain_in_pods=modelcache.test

api_server=https://$host_ip:6443
etcd_port=12379
etcd_peer_port=12380

pause_image=modelcache.dev/test/pause:local
busybox_image=modelcache.dev/test/busybox:local
coredns_image=modelcache.dev/test/coredns:local
local_path_image=modelcache.dev/test/local-path-provisioner:local

node_ip() { printf '10.244.0.1%s' "$1"; }
