# Shared by up.sh and down.sh; expects STATE, the site's folder.

say() { printf 'slurm site: %s\n' "$*" >&2; }
die() { say "$@" && exit 1; }

# A process is ours if it still is the program that we started: a process id that was given out again is not.
owned() { # NAME WORDS: the process in run/NAME.pid is alive, and WORDS are part of its command line
    local pid
    pid=$(cat "$STATE/run/$1.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    { tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$2"; } 2>/dev/null
}

# NAME:WORDS of every daemon, in the order in which they are started.
daemons() {
    local node
    printf '%s\n' "munged:$STATE/munge" "mariadbd:$STATE/db" "slurmdbd:slurmdbd -D" "slurmctld:$STATE/etc/slurm.conf"
    for node in $(node_names); do printf '%s\n' "slurmd.$node:-N $node "; done
}

node_names() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$STATE/etc/slurm.conf" 2>/dev/null; }

# Ids of the processes that were started for jobs of this site; they carry its configuration in their environment.
job_processes() {
    local file pid
    for file in /proc/[0-9]*/environ; do
        pid=${file#/proc/} && pid=${pid%/environ}
        if grep -qzsxF "SLURM_CONF=$STATE/etc/slurm.conf" "$file" && grep -qzs '^SLURM_JOB_ID=' "$file"; then echo "$pid"; fi
    done
}
