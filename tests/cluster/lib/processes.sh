# shellcheck shell=bash
# Long-running programs, identified by process id and start time, because the machine may reuse the id.

record_of() { printf '%s/processes/%s' "$state" "$1"; }

# Field 22 of /proc/PID/stat, counted after the name, which may contain spaces.
start_time_of() {
	local fields
	fields=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	read -r -a fields <<<"${fields##*) }"
	# A zombie has ended, even if its parent has not collected it.
	[[ ${fields[0]} != Z ]] || return 1
	printf '%s' "${fields[19]}"
}

# Prints the process id if the program runs.
running_process() {
	local pid started
	read -r pid started 2>/dev/null <"$(record_of "$1")" || return 1
	[[ $(start_time_of "$pid") == "$started" ]] || return 1
	printf '%s' "$pid"
}

is_running() { running_process "$1" >/dev/null; }

# Usage: start_process NAME COMMAND...   Does nothing if the program is running.
start_process() {
	local name=$1 log=$component_logs/$1.log
	shift
	if is_running "$name"; then return; fi
	mkdir -p "$state/processes" "$component_logs"
	# The program must not inherit the locks of this command (8, 9).
	setsid "$@" >>"$log" 2>&1 </dev/null 8>&- 9>&- &
	printf '%s %s\n' "$!" "$(start_time_of "$!")" >"$(record_of "$name")"
}

# Usage: stop_process NAME [SECONDS]   Sends SIGTERM, and SIGKILL after the grace period.
stop_process() {
	local name=$1 grace=${2:-5} pid
	if pid=$(running_process "$name"); then
		kill -TERM "$pid" 2>/dev/null || true
		wait_until "$grace" process_has_ended "$name" || kill -KILL "$pid" 2>/dev/null || true
	fi
	rm -f "$(record_of "$name")"
}

# Usage: ask_to_stop NAME...   Sends SIGTERM and does not wait.
ask_to_stop() {
	local name pid
	for name in "$@"; do
		if pid=$(running_process "$name"); then kill -TERM "$pid" 2>/dev/null || true; fi
	done
}

process_has_ended() { ! is_running "$1"; }

# Usage: wait_until SECONDS COMMAND...
wait_until() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if ((SECONDS >= deadline)); then return 1; fi
		sleep 0.1
	done
}

# Usage: wait_for_process NAME SECONDS COMMAND...   Like wait_until, but fails at once if the program ends.
wait_for_process() {
	local name=$1 deadline=$((SECONDS + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		if ! is_running "$name" || ((SECONDS >= deadline)); then
			tail -n 15 "$component_logs/$name.log" >&2 || true
			if is_running "$name"; then fail "$name does not respond" "Log: $component_logs/$name.log"; fi
			fail "$name exited" "Log: $component_logs/$name.log"
		fi
		sleep 0.1
	done
}
