#!/usr/bin/env bash
# Stop the Slurm that up.sh started in FOLDER: its jobs, then its daemons, and nothing else.
#
#   tests/slurm_site/down.sh FOLDER            up.sh brings the same site back
#   tests/slurm_site/down.sh FOLDER --now      kills the daemons: what they had not saved is lost
#   tests/slurm_site/down.sh FOLDER --purge    so does this, and removes the folder
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
STATE=$(cd "${1:?usage: down.sh FOLDER [--now|--purge]}" && pwd) || exit 1
. "$HERE/common.sh"
[ -e "$STATE/env.sh" ] || die "$STATE: no site was started here"
# shellcheck disable=SC1091 # made by up.sh
. "$STATE/env.sh"

end_jobs() { # while slurmctld can still tell the nodes: else their processes outlive slurmd
    local try
    timeout 5 scontrol ping >/dev/null 2>&1 || return 0
    timeout 10 squeue -h -t all -o %A --states=PENDING,RUNNING,SUSPENDED,CONFIGURING 2>/dev/null |
        xargs -r timeout 10 scancel --quiet 2>/dev/null
    for try in $(seq 50); do
        [ -n "$(timeout 5 squeue -h -t R,CG,S 2>/dev/null)" ] || return 0
        sleep 0.2
    done
    say "jobs did not end in $((try / 5)) s; they are killed"
}

any_alive() { # PID...: one of them has not ended; one that has, and that nobody waits for, keeps its number
    local pid
    for pid; do
        grep -qs '^State:[[:space:]]*[^XZ[:space:]]' "/proc/$pid/status" && return 0
    done
    return 1
}

stop() { # NAME...: ask them all, wait up to 15 s, kill what is left
    local name try pids=()
    for name; do
        owned "$name" "$(words_of "$name")" && pids+=("$(cat "$STATE/run/$name.pid")")
        rm -f "$STATE/run/$name.pid"
    done
    [ "${#pids[@]}" -gt 0 ] || return 0
    kill -"$SIGNAL" "${pids[@]}" 2>/dev/null
    for try in $(seq 150); do
        any_alive "${pids[@]}" || break
        [ "$try" -lt 150 ] || kill -9 "${pids[@]}" 2>/dev/null
        sleep 0.1
    done
}

end_stray() { # what jobs left behind; twice, since a process may just be starting another
    job_processes | xargs -r kill -9 2>/dev/null
    job_processes | xargs -r kill -9 2>/dev/null
}

[ -n "${2:-}" ] && SIGNAL=KILL || SIGNAL=TERM
stop watch
[ "$SIGNAL" = KILL ] || end_jobs
# shellcheck disable=SC2046 # names have no blanks
stop $(node_names | sed 's/^/slurmd./') slurmctld
stop slurmdbd
stop mariadbd munged
end_stray
[ "${2:-}" != --purge ] || rm -rf -- "$STATE"
say stopped
