# Shared by up.sh and down.sh; expects STATE, the site's folder.

say() { printf 'slurm site: %s\n' "$*" >&2; }
die() { say "$@" && exit 1; }

# A process is ours if it still is the program that we started: a process id that was given out again is not.
owned() { # DAEMON: the process in run/DAEMON.pid is alive, and it is that daemon
    local pid
    pid=$(cat "$STATE/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    { tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$(words_of "$1")"; } 2>/dev/null
}

words_of() { # DAEMON: what no other program's command line has
    case $1 in
    munged) echo "$STATE/munge" ;;
    mariadbd) echo "$STATE/db" ;;
    slurmdbd) echo slurmdbd -D ;;
    slurmd.*) echo "-N ${1#slurmd.} -f $STATE/etc/slurm.conf" ;;
    *) echo "$STATE" ;;
    esac
}

node_names() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$STATE/etc/slurm.conf" 2>/dev/null; }

# Ids of the processes of jobs and of the slurmstepd above them: all have the site's configuration in their environment.
job_processes() {
    local folder
    for folder in /proc/[0-9]*; do
        grep -qzsxF "SLURM_CONF=$STATE/etc/slurm.conf" "$folder/environ" || continue
        if grep -qzs '^SLURM_JOB_ID=' "$folder/environ" || grep -qs '^slurmstepd:' "$folder/cmdline"; then
            echo "${folder#/proc/}"
        fi
    done
}
