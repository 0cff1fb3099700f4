# shellcheck shell=bash
# The bridge of host, nodes and pods, and the kernel settings for it. Nothing is masqueraded, so pods reach only each other,
# Services and this host.

set_up_network() {
	if [[ ! -d /sys/class/net/$bridge ]]; then
		if ip -4 route show to match "$host_ip" | grep -qv '^default'; then
			fail "the range $cluster_range is already in use on this machine" \
				"Free it, or change cluster_range, host_ip and node_ip in lib/settings.sh. In use: $(ip -4 route show to match "$host_ip" | grep -v '^default')"
		fi
		ip link add "$bridge" type bridge
		touch "$state/bridge-is-ours"
	fi
	[[ -e $state/bridge-is-ours ]] || fail "a bridge $bridge exists that this cluster did not create" "Remove it: ip link delete $bridge"
	ip address replace "$host_ip/${cluster_range#*/}" dev "$bridge"
	ip link set "$bridge" up
	# Programs on the host, such as the API server for webhooks, reach Services even without a default route.
	ip route replace "$service_range" dev "$bridge" src "$host_ip"

	# The Service proxy creates this chain, and its clean-up leaves it. down removes the chain only if it did not exist before.
	if ! iptables -w -n -L KUBE-FIREWALL >/dev/null 2>&1; then touch "$state/firewall-chain-is-ours"; fi
	remember_sysctl net.ipv4.ip_forward 1
	if [[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ]]; then modprobe br_netfilter 2>/dev/null || true; fi
	if [[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]]; then remember_sysctl net.bridge.bridge-nf-call-iptables 1; fi
	allow_forwarding
}

# Container engines set the FORWARD policy to DROP, so the traffic of our bridge needs its own rules.
forwarding_rules=("-i $bridge" "-o $bridge")
allow_forwarding() {
	local rule
	for rule in "${forwarding_rules[@]}"; do
		# shellcheck disable=SC2086 # a rule is several words
		iptables -w -C FORWARD $rule -m comment --comment modelcache-test -j ACCEPT 2>/dev/null ||
			iptables -w -I FORWARD $rule -m comment --comment modelcache-test -j ACCEPT
	done
}

# Sets a kernel setting and stores the previous value, which down restores.
remember_sysctl() {
	local file=/proc/sys/${1//.//}
	if [[ $(<"$file") == "$2" ]]; then return; fi
	mkdir -p "$state/sysctl"
	[[ -e $state/sysctl/$1 ]] || cat "$file" >"$state/sysctl/$1"
	printf '%s\n' "$2" >"$file"
}

add_node_address() { ip address replace "$(node_ip "$1")/32" dev "$bridge"; }

tear_down_network() {
	local rule setting tables
	if [[ -e $state/bridge-is-ours ]]; then
		for rule in "${forwarding_rules[@]}"; do
			# shellcheck disable=SC2086 # a rule is several words
			while iptables -w -D FORWARD $rule -m comment --comment modelcache-test -j ACCEPT 2>/dev/null; do :; done
		done
		if [[ -d /sys/class/net/$bridge ]]; then ip link delete "$bridge"; fi
	fi
	if [[ -e $state/firewall-chain-is-ours ]]; then
		for tables in iptables ip6tables; do
			"$tables" -w -D INPUT -j KUBE-FIREWALL 2>/dev/null || true
			"$tables" -w -D OUTPUT -j KUBE-FIREWALL 2>/dev/null || true
			"$tables" -w -F KUBE-FIREWALL 2>/dev/null || true
			"$tables" -w -X KUBE-FIREWALL 2>/dev/null || true
		done
	fi
	for setting in "$state"/sysctl/*; do
		[[ -e $setting ]] || continue
		cat "$setting" >"/proc/sys/$(basename "$setting" | tr . /)"
	done
}
