#!/usr/bin/env bash
# Stop the Slurm that up.sh started in FOLDER: its jobs, then its daemons, and nothing else.
#
#   tests/slurm_site/down.sh FOLDER [--purge]      --purge removes the folder, too
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
STATE=$(cd "${1:?usage: down.sh FOLDER [--purge]}" && pwd) || exit 1
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

stop() { # NAME WORDS: ask, wait up to 10 s, kill
    local pid try
    if owned "$1" "$2"; then
        pid=$(cat "$STATE/run/$1.pid")
        kill "$pid" 2>/dev/null
        for try in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            [ "$try" -lt 100 ] || kill -9 "$pid" 2>/dev/null
            sleep 0.1
        done
    fi
    rm -f "$STATE/run/$1.pid"
}

end_stray() { # what jobs left behind, and the slurmstepd above them
    local pid parent
    for pid in $(job_processes); do
        parent=$(awk '/^PPid:/ {print $2}' "/proc/$pid/status" 2>/dev/null)
        case $(tr '\0' ' ' <"/proc/${parent:-1}/cmdline" 2>/dev/null) in slurmstepd:*) kill -9 "$parent" 2>/dev/null ;; esac
        kill -9 "$pid" 2>/dev/null
    done
}

stop watch "$STATE"
end_jobs
daemons | tac | while IFS=: read -r name words; do stop "$name" "$words"; done
end_stray
[ "${2:-}" != --purge ] || rm -rf -- "$STATE"
say stopped
