# shellcheck shell=bash
# One certificate authority per cluster, which issues all certificates. Kept in the cluster's state, readable by root only.

# Usage: issue_certificate FILE SUBJECT [ALTERNATIVE-NAMES]
issue_certificate() {
	local file=$certificates/$1 usage=clientAuth extensions
	if [[ -s $file.crt ]]; then return; fi
	if [[ $# -gt 2 ]]; then usage=serverAuth; fi
	extensions="extendedKeyUsage=$usage"
	if [[ $# -gt 2 ]]; then extensions+=$'\n'"subjectAltName=$3"; fi
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$file.key" -subj "$2" 2>/dev/null |
		openssl x509 -req -days 3650 -sha256 -CA "$certificates/ca.crt" -CAkey "$certificates/ca.key" \
			-set_serial "0x$(openssl rand -hex 12)" -extfile <(printf '%s\n' "$extensions") -out "$file.crt.new" 2>/dev/null ||
		fail "openssl failed to issue $1"
	mv "$file.crt.new" "$file.crt"
}

# Usage: write_kubeconfig FILE CERTIFICATE
write_kubeconfig() {
	local file=$1 certificate=$certificates/$2
	if [[ -s $file ]]; then return; fi
	cat >"$file.new" <<-YAML
		apiVersion: v1
		kind: Config
		clusters:
		- name: modelcache-test
		  cluster:
		    server: $api_server
		    certificate-authority-data: $(base64 -w0 "$certificates/ca.crt")
		users:
		- name: $2
		  user:
		    client-certificate-data: $(base64 -w0 "$certificate.crt")
		    client-key-data: $(base64 -w0 "$certificate.key")
		contexts:
		- name: modelcache-test
		  context: {cluster: modelcache-test, user: $2}
		current-context: modelcache-test
	YAML
	mv "$file.new" "$file"
}

# Usage: issue_component_identity NAME USER   Issues a client certificate and writes a kubeconfig with it.
issue_component_identity() {
	issue_certificate "$1" "$2"
	write_kubeconfig "$certificates/$1.kubeconfig" "$1"
}

issue_control_plane_certificates() {
	mkdir -p "$certificates"
	chmod 0700 "$certificates"
	if [[ ! -s $certificates/ca.crt ]]; then
		openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -sha256 \
			-keyout "$certificates/ca.key" -out "$certificates/ca.crt" -subj /CN=modelcache-test-ca \
			-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null ||
			fail "openssl failed to create the certificate authority"
	fi
	if [[ ! -s $certificates/service-account.pub ]]; then
		openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$certificates/service-account.key"
		openssl pkey -in "$certificates/service-account.key" -pubout -out "$certificates/service-account.pub"
	fi
	local names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
	issue_certificate api-server /CN=kube-apiserver "$names,DNS:localhost,IP:127.0.0.1,IP:$host_ip,IP:$kubernetes_service_ip"
	issue_certificate api-server-to-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
	issue_component_identity admin /O=system:masters/CN=kubernetes-admin
	issue_component_identity controller-manager /CN=system:kube-controller-manager
	issue_component_identity scheduler /CN=system:kube-scheduler
	issue_component_identity proxy /CN=system:kube-proxy
	install -m 0600 "$certificates/admin.kubeconfig" "$kubeconfig"
}
