# shellcheck shell=bash
# Messages of the commands. Progress and errors go to standard error, because standard output is for results.

say() { printf '%s\n' "$*" >&2; }

# Usage: fail WHAT [WHAT TO DO]
fail() {
	printf 'error: %s\n' "$1" >&2
	if [[ $# -gt 1 ]]; then printf '       %s\n' "${@:2}" >&2; fi
	exit 1
}

# Prints the comment block at the head of the running command as its help.
print_help() {
	sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"
}

fail_usage() {
	fail "$1" "See: $0 --help"
}
