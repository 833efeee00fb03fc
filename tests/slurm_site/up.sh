#!/usr/bin/env bash
# Bring up a real, throw-away Slurm on this one machine: munge, slurmctld, a slurmd for each virtual node, and, for
# accounting, slurmdbd with a MariaDB of its own. What already runs is left alone, so it can be called again.
#
#   tests/slurm_site/up.sh FOLDER          start
#   . FOLDER/env.sh                        then sbatch, squeue, sacct ... in that shell
#   tests/slurm_site/up.sh FOLDER DAEMON   start one alone: munged, mariadbd, slurmdbd, slurmctld, slurmd.n1 ...
#   tests/slurm_site/down.sh FOLDER        stop
#
# Needs root (slurmd becomes the user who submits) and, on Debian or Ubuntu, the packages
# slurmctld slurmd slurm-client munge, and slurmdbd mariadb-server for accounting. Nothing outside FOLDER is written.
#
# Settings (environment variables), which the first start keeps in FOLDER/settings:
#   SLURM_SITE_NODES=3           virtual nodes n1, n2, ...; n1 has a GPU that is only counted
#   SLURM_SITE_CPUS=2            CPUs that each node claims, whatever the machine has
#   SLURM_SITE_MEM_MB=3000       memory that each node claims
#   SLURM_SITE_ACCOUNTING=1      0: no slurmdbd, so sacct fails and only squeue knows
#   SLURM_SITE_LIMITS=poll       who ends a job that takes too much memory. poll: slurmd looks once a second; cgroup: the
#                                kernel (version 1, one site a machine), where it cannot be used poll is; none: nobody
#   SLURM_SITE_NODE_TIMEOUT=10   seconds until a silent node is down
#   SLURM_SITE_PORT=             first of NODES + 4 ports of 127.0.0.1; by default some that are free
#   SLURM_SITE_OWNER=            process that the site serves: when it is gone, the site stops itself
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
STATE=${1:?usage: up.sh FOLDER [DAEMON]}
mkdir -p "$STATE"
STATE=$(cd "$STATE" && pwd)
. "$HERE/common.sh"
# shellcheck disable=SC1091 # made below by the first start
[ ! -e "$STATE/settings" ] || . "$STATE/settings"
NODES=${SLURM_SITE_NODES:-3} CPUS=${SLURM_SITE_CPUS:-2} MEM_MB=${SLURM_SITE_MEM_MB:-3000}
ACCOUNTING=${SLURM_SITE_ACCOUNTING:-1} LIMITS=${SLURM_SITE_LIMITS:-poll}
NODE_TIMEOUT=${SLURM_SITE_NODE_TIMEOUT:-10} PORT=${SLURM_SITE_PORT:-}
umask 022

check_machine() {
    local pair missing=()
    [ "$(id -u)" = 0 ] || die "must be started by root, since slurmd becomes the user who submits a job"
    [ "${#STATE}" -le 80 ] || die "$STATE: too long a path for the sockets in it; expected 80 letters or fewer"
    case $STATE in *[!A-Za-z0-9/._-]*) die "$STATE: expected letters, digits and ._- only; choose another folder" ;; esac
    set -- slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge
    [ "$ACCOUNTING" = 0 ] || set -- "$@" slurmdbd:slurmdbd mariadbd:mariadb-server
    for pair; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}"); done
    [ "${#missing[@]}" = 0 ] || die "not here: ${missing[*]}. On Debian or Ubuntu: apt-get install ${missing[*]}"
}

wait_for() { # SECONDS WHAT COMMAND...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            tail -n 5 "$STATE/log/$what"*.log "$STATE/log/$what"*.out >&2 2>/dev/null || :
            die "$what did not start; its log is in $STATE/log"
        fi
        sleep 0.1
    done
}

launch() { # NAME COMMAND...: in a session of its own, so that a Ctrl-C here does not reach it
    local name=$1
    shift
    setsid "$@" </dev/null >>"$STATE/log/$name.out" 2>&1 &
    echo $! >"$STATE/run/$name.pid"
    disown
}

choose_ports() {
    local port try
    [ -z "$PORT" ] || return 0
    for try in $(seq 50); do # below those that Linux gives to outgoing connections
        PORT=$((18000 + RANDOM % 800 * 16))
        for port in $(seq "$PORT" $((PORT + NODES + 3))); do
            if (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then continue 2; fi
        done
        return 0
    done
    die "found no $((NODES + 4)) free ports in a row after $try tries; set SLURM_SITE_PORT"
}

choose_limits() {
    [ "$LIMITS" = cgroup ] || return 0
    local trial=/sys/fs/cgroup/memory/slurm-site-trial
    if mkdir "$trial" 2>/dev/null && [ -w "$trial/memory.limit_in_bytes" ]; then
        rmdir "$trial"
    else
        say "no writable memory cgroup (version 1) here: slurmd polls instead"
        LIMITS=poll
    fi
}

keep_settings() {
    printf 'SLURM_SITE_%s\n' "NODES=$NODES" "CPUS=$CPUS" "MEM_MB=$MEM_MB" "ACCOUNTING=$ACCOUNTING" "LIMITS=$LIMITS" \
        "NODE_TIMEOUT=$NODE_TIMEOUT" "PORT=$PORT" >"$STATE/settings"
}

limits_conf() {
    case $LIMITS in
    poll) printf '%s\n' ProctrackType=proctrack/linuxproc TaskPlugin=task/none JobAcctGatherType=jobacct_gather/linux \
        JobAcctGatherFrequency=task=1 JobAcctGatherParams=OverMemoryKill ;;
    cgroup) printf '%s\n' ProctrackType=proctrack/cgroup TaskPlugin=task/cgroup \
        JobAcctGatherType=jobacct_gather/linux JobAcctGatherFrequency=task=1 ;;
    none) printf '%s\n' ProctrackType=proctrack/linuxproc TaskPlugin=task/none \
        JobAcctGatherType=jobacct_gather/none ;;
    *) die "SLURM_SITE_LIMITS is '$LIMITS'; expected poll, cgroup or none" ;;
    esac
}

accounting_conf() {
    if [ "$ACCOUNTING" = 0 ]; then
        echo AccountingStorageType=accounting_storage/none
        return
    fi
    # The socket stands here once more: without it, clients that ask slurmdbd look for a munged of the machine.
    printf '%s\n' AccountingStorageType=accounting_storage/slurmdbd AccountingStorageHost=127.0.0.1 \
        "AccountingStoragePort=$((PORT + 1))" "AccountingStoragePass=$STATE/munge/socket" \
        AccountingStoreFlags=job_comment AccountingStorageTRES=gres/gpu AccountingStorageEnforce=associations
}

node_conf() {
    local i gres
    for i in $(seq "$NODES"); do
        [ "$i" = 1 ] && gres='Gres=gpu:1' || gres=''
        echo "NodeName=n$i NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 3 + i)) CPUs=$CPUS RealMemory=$MEM_MB $gres"
    done
}

slurm_conf() {
    cat <<CONF
ClusterName=site
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$STATE/munge/socket
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/spool/%n
SlurmctldPidFile=$STATE/run/slurmctld.own.pid
SlurmdPidFile=$STATE/run/slurmd.%n.own.pid
SlurmctldLogFile=$STATE/log/slurmctld.log
SlurmdLogFile=$STATE/log/slurmd.%n.log
# nodes that claim more than the machine has
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=200
MpiDefault=none
GresTypes=gpu
MaxJobCount=20000
# short times, for tests; a site of many users has longer ones
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SlurmdTimeout=$NODE_TIMEOUT
MessageTimeout=10
KillWait=2
# a node that was down serves again when its slurmd is back
ReturnToService=2
$(limits_conf)
$(accounting_conf)
$(node_conf)
PartitionName=cpu Nodes=ALL Default=YES MaxTime=24:00:00 DefaultTime=10
PartitionName=gpu Nodes=n1 MaxTime=60 DefaultTime=10
CONF
}

slurmdbd_conf() {
    cat <<CONF
AuthType=auth/munge
AuthInfo=socket=$STATE/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=root
PidFile=$STATE/run/slurmdbd.own.pid
LogFile=$STATE/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 2))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
CONF
}

configure() {
    HOST=$(hostname -s)
    choose_ports
    choose_limits
    keep_settings
    mkdir -p "$STATE"/{etc,munge,run,log,ctld,spool}
    head -c 1024 /dev/urandom >"$STATE/munge/key"
    chmod 400 "$STATE/munge/key"
    # One GPU that is only counted: its device is a plain file.
    touch "$STATE/etc/gpu0"
    echo "NodeName=n1 Name=gpu File=$STATE/etc/gpu0" >"$STATE/etc/gres.conf"
    printf '%s\n' CgroupPlugin=cgroup/v1 CgroupMountpoint=/sys/fs/cgroup CgroupAutomount=no ConstrainRAMSpace=yes \
        >"$STATE/etc/cgroup.conf"
    if [ "$ACCOUNTING" = 1 ]; then
        (umask 077 && slurmdbd_conf >"$STATE/etc/slurmdbd.conf")
    fi
    echo "export SLURM_CONF=$STATE/etc/slurm.conf" >"$STATE/env.sh"
    slurm_conf >"$STATE/etc/slurm.conf.new"
    mv "$STATE/etc/slurm.conf.new" "$STATE/etc/slurm.conf" # last: it says that the rest is there
}

start_munged() { # --force, since the folder may lie below one that all may write
    rm -f "$STATE/munge/socket"*
    launch munged munged --foreground --force --key-file="$STATE/munge/key" --socket="$STATE/munge/socket" \
        --pid-file="$STATE/run/munged.own.pid" --log-file="$STATE/log/munged.log" --seed-file="$STATE/munge/seed"
}

start_mariadbd() { # as root, since a temporary folder is often closed to others
    local db=$STATE/db
    if [ ! -d "$db/mysql" ]; then
        mkdir -p "$db"
        mariadb-install-db --no-defaults --user=root --datadir="$db" --skip-test-db \
            --auth-root-authentication-method=socket >"$STATE/log/mariadb-install.out" 2>&1
    fi
    launch mariadbd mariadbd --no-defaults --user=root --datadir="$db" --socket="$db/sock" --pid-file="$db/own.pid" \
        --bind-address=127.0.0.1 --port=$((PORT + 2)) --innodb-buffer-pool-size=64M --performance-schema=OFF \
        --innodb-flush-log-at-trx-commit=2 --innodb-lock-wait-timeout=900
    wait_for 60 mariadbd sql 'select 1'
    sql "create database if not exists slurm_acct;
        create user if not exists 'slurm'@'127.0.0.1' identified by 'slurm';
        create user if not exists 'slurm'@'localhost' identified by 'slurm';
        grant all on slurm_acct.* to 'slurm'@'127.0.0.1';
        grant all on slurm_acct.* to 'slurm'@'localhost';"
}

sql() { mariadb --no-defaults --user=root --socket="$STATE/db/sock" --execute "$1"; }

add_account() { # so that jobs have one to be booked on; the cluster must be known before slurmctld asks for it
    [ ! -e "$STATE/db/account-added" ] || return 0
    {
        sacctmgr -i add cluster site
        sacctmgr -i add account lab Cluster=site Description=lab Organization=lab
        sacctmgr -i add user "$(id -un)" Account=lab Cluster=site DefaultAccount=lab
    } >>"$STATE/log/sacctmgr.out" 2>&1
    touch "$STATE/db/account-added"
}

start() { # DAEMON, unless it runs
    if owned "$1"; then return; fi
    case $1 in
    munged) start_munged ;;
    mariadbd) start_mariadbd ;;
    slurmdbd) launch slurmdbd slurmdbd -D ;;
    slurmctld) launch slurmctld slurmctld -D -i -f "$SLURM_CONF" ;;
    slurmd.n[0-9]*)
        mkdir -p "$STATE/spool/${1#slurmd.}"
        launch "$1" slurmd -D -N "${1#slurmd.}" -f "$SLURM_CONF"
        ;;
    *) die "there is no daemon '$1'" ;;
    esac
}

all_ready() { [ "$(sinfo -h -N -p cpu -t idle,alloc,mix -o %N | wc -l)" = "$NODES" ]; }

start_all() {
    local node
    start munged
    wait_for 20 munged munge -n --socket="$STATE/munge/socket"
    if [ "$ACCOUNTING" = 1 ]; then
        start mariadbd
        start slurmdbd
        wait_for 60 slurmdbd sacctmgr -n show cluster
        add_account
    fi
    start slurmctld
    wait_for 30 slurmctld scontrol ping
    for node in $(node_names); do start "slurmd.$node"; done
    wait_for 60 slurmd all_ready
}

watch_owner() { # stop when the process that the site serves is gone, however it went
    [ -n "${SLURM_SITE_OWNER:-}" ] || return 0
    # shellcheck disable=SC2016 # expanded by the shell that watches
    launch watch bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; rm -f "$3/run/watch.pid"; exec "$2" "$3"' \
        watch "$SLURM_SITE_OWNER" "$HERE/down.sh" "$STATE"
}

check_machine
[ -e "$STATE/etc/slurm.conf" ] || configure
. "$STATE/env.sh"
if [ "$#" -gt 1 ]; then
    start "$2"
    exit
fi
start_all
watch_owner
say "$NODES nodes ready; for a shell: . $STATE/env.sh"
