# shellcheck shell=bash
# shellcheck disable=SC2034 # used by the files that source this one
# Paths. The cache can be kept and shared by clones; the state belongs to the one running cluster.

cluster_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MODELCACHE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/modelcache}/cluster
state=${MODELCACHE_CLUSTER_STATE:-/var/lib/modelcache-cluster}

kubeconfig=$state/kubeconfig
certificates=$state/certificates
component_logs=$state/logs
