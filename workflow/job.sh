# What every compiled rule does around its tool. POSIX sh, run by bash on the host or by any sh in an image.
#
#   job_begin    STEP UNIT RECORD LOG FACTS    start a job; FACTS is the compiled part of its record
#   job_samples  ID...                         the rows of a group; a job over one row needs no such line
#   job_source   PORT KNOWN PATH...             inputs from the sheet; KNOWN = sha256 | record path | - (hash now)
#   job_shared   PORT KEY PATH                  an input that many jobs share: hashed once for the study
#   job_upstream PORT OUTPUT PATH...            inputs made by a step: digests come from that step's records
#   job_row      NAME VALUE                     a parameter that the row brought along
#   job_output   PORT PATH                      an output; the tool writes to "$out_PORT"
#   job_run      ARGV...                        run the tool, move the outputs into place, write the record
#
# The tool writes into a staging folder of its own beside the final place; only a job that succeeded moves its
# outputs there, and the record comes last. So a half-written output never stands under a final name, two jobs
# at once never mix, and a record means: done. A failure leaves its facts beside the log.
#
# Needs: sh, mkdir, mv, rm, sed. Uses date, find, sha256sum (or shasum), sort, tr, wc where they are; what they
# would have told is null without them. Values reach the record through _json alone.

set -eu

_json() { # TEXT -> _r: the text as a JSON string, quoted
    case $1 in
    *[\"\\[:cntrl:]]*)
        _r=$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' |
            tr '\001\002\003\004\005\006\007\010\013\014\015\016\017\020\021\022\023\024\025\026\027\030\031\032\033\034\035\036\037\177' ' ' |
            sed -e ':a' -e 'N' -e '$!ba' -e 's/\n/\\n/g')
        _r=\"$_r\"
        ;;
    *) _r=\"$1\" ;;
    esac
}

_home() { # PATH -> _p: the path as a record may tell it: final instead of staged, no home folder
    _p=$1
    case $_p in "$job_stage"/*) _p=$job_dir/${_p#"$job_stage"/} ;; esac
    case ${HOME:-/} in
    / | '') ;;
    *) case $_p in "$HOME"/*) _p="~/${_p#"$HOME"/}" ;; esac ;;
    esac
}

_now() { # -> _t: UTC, to the second
    if [ -n "${BASH_VERSION-}" ] && [ "${BASH_VERSINFO-0}" -ge 5 ]; then
        TZ=UTC0 printf -v _t '%(%Y-%m-%dT%H:%M:%SZ)T' -1
    else
        _t=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    fi
}

_clock() { # -> _c: a clock in hundredths of a second, or empty
    _c=
    if [ -r /proc/uptime ]; then
        read -r _c _ </proc/uptime
        _c=${_c%.*}${_c#*.}
    fi
}

_digest() { # PATH -> _d: sha256, quoted, or null. Of a folder: of its `sha256sum` list, ordered by name
    _d=null
    [ -n "$job_sha" ] || return 0
    if [ -d "$1" ]; then
        _x=$(cd "$1" && find . -type f -exec $job_sha {} + | sed 's|  \./|  |' | LC_ALL=C sort -k 2 | $job_sha) || return 0
    else
        _x=$($job_sha <"$1") || return 0
    fi
    _x=${_x%% *}
    [ ${#_x} = 64 ] && _d=\"$_x\"
}

_bytes() { # PATH -> _b: size in bytes, of a folder the sum of its files; or null
    _b=null
    if [ -d "$1" ]; then
        _x=$(find "$1" -type f -exec wc -c {} + 2>/dev/null) || return 0
        _b=0
        while read -r _n _name; do
            [ "$_name" = total ] || _b=$((_b + _n))
        done <<EOF
$_x
EOF
    else
        _x=$(wc -c <"$1" 2>/dev/null) || return 0
        _b=$((_x))
    fi
}

_image() { # OME-Zarr 0.5 folder -> _g: its axes, shape, sample type and scale as it says itself, as JSON keys
    _g=
    [ -r "$1/zarr.json" ] && [ -r "$1/0/zarr.json" ] || return 0
    _x=$(tr -d ' \t\r\n' <"$1/zarr.json") && _y=$(tr -d ' \t\r\n' <"$1/0/zarr.json") || return 0
    case $_x$_y in *\"multiscales\"*\"axes\":\[*\"scale\":\[*\"shape\":\[*) ;; *) return 0 ;; esac
    _axes=
    _n=${_x#*\"axes\":\[}
    _n=${_n%%]*}
    while :; do
        case $_n in *\"name\":\"*) ;; *) break ;; esac
        _n=${_n#*\"name\":\"}
        _axes=$_axes${_n%%\"*}
        _n=${_n#*\"}
    done
    _n=${_y#*\"shape\":\[} _m=${_x#*\"scale\":\[} _k=${_y#*\"data_type\":\"}
    _json "${_k%%\"*}"
    _g=", \"axes\": \"$_axes\", \"shape\": [${_n%%]*}], \"dtype\": $_r, \"scale\": [${_m%%]*}]"
}

_children() { # -> _u: CPU milliseconds of the processes that have ended, or empty
    _u=
    times >"$job_stage/.times" 2>/dev/null || return 0
    while read -r _v _w; do
        _ms "$_v" && _u=$_m && _ms "$_w" && _u=$((_u + _m))
    done <"$job_stage/.times"
}

_ms() { # 1m2.345s -> _m: milliseconds
    _s=${1#*m}
    _f=${_s#*.}
    _f=${_f%s}000
    _f=${_f%"${_f#???}"}
    _s=${_s%.*}
    _m=$((${1%%m*} * 60000 + _s * 1000 + 1$_f - 1000))
}

_host() { # -> _h: name of this machine
    _h=${HOSTNAME-}
    [ -n "$_h" ] || read -r _h 2>/dev/null </proc/sys/kernel/hostname || _h=$(uname -n)
}

job_begin() {
    job_step=$1 job_unit=$2 job_record=$3 job_log=$4 job_facts=$5
    job_inputs='' job_outputs='' job_rows='' job_argv='' job_stage='' job_dir='' job_ports='' job_cpu0=''
    job_failed=${job_log%.log}.failed.json
    _json "$job_unit"
    job_samples=$_r
    job_sha=
    if command -v sha256sum >/dev/null 2>&1; then
        job_sha=sha256sum
    elif command -v shasum >/dev/null 2>&1; then
        job_sha='shasum -a 256'
    fi
    _host
    job_host=$_h
    _now
    job_started=$_t
    _clock
    job_clock=$_c
    [ ! -e "$job_failed" ] || rm -f -- "$job_failed"
    trap '_died $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

_entry() { # PORT PATH FIELDS: add an input
    _home "$2"
    _json "$_p"
    job_inputs="$job_inputs${job_inputs:+,}
    {\"port\": \"$1\", \"path\": $_r, $3}"
}

job_samples() {
    job_samples=
    for _id; do
        _json "$_id"
        job_samples="$job_samples${job_samples:+, }$_r"
    done
}

job_source() {
    _port=$1 _known=
    shift
    while [ "$1" != -- ]; do
        _known="$_known$1 "
        shift
    done
    shift
    for _path; do
        _k=${_known%% *}
        _known=${_known#* }
        _bytes "$_path"
        case $_k in
        records/*) _entry "$_port" "$_path" "\"bytes\": $_b, \"sha256\": null, \"record\": \"$_k\"" ;;
        -) _digest "$_path" && _entry "$_port" "$_path" "\"bytes\": $_b, \"sha256\": $_d" ;;
        *) _entry "$_port" "$_path" "\"bytes\": $_b, \"sha256\": \"$_k\"" ;;
        esac
    done
}

job_shared() {
    _bytes "$3"
    _d= _k=
    case $job_record in
    records/*/* | */records/*/*) _k=${job_record%/*/*}/inputs/$2 ;;
    esac
    if [ -r "$_k" ] && [ ! "$3" -nt "$_k" ]; then
        read -r _d _n <"$_k" || _d=
        [ "$_n" = "$_b" ] || _d=
    fi
    if [ -z "$_d" ]; then
        _digest "$3"
        if [ -n "$_k" ]; then
            mkdir -p "${_k%/*}"
            printf '%s %s\n' "$_d" "$_b" >"$_k.$job_host.$$"
            mv -f -- "$_k.$job_host.$$" "$_k"
        fi
    fi
    _entry "$1" "$3" "\"bytes\": $_b, \"sha256\": $_d"
}

job_upstream() {
    _port=$1 _out=$2
    shift 2
    _records=${job_record%/*/*} _n=$#
    for _path; do
        _q=${_path%/*}
        _k=${_q##*/}
        _q=${_q%/*}
        set -- "$@" "$_records/${_q##*/}/$_k.json"
    done
    _i=0
    while [ "$_i" -lt "$_n" ]; do
        _i=$((_i + 1))
        shift
    done
    _x=$(sed -n '/^  "outputs": \[/,/^  \]/{s/,$//;s/^    {"port": "'"$_out"'", /    {"port": "'"$_port"'", /p;}' "$@") || _x=
    while IFS= read -r _line; do
        [ -z "$_line" ] || job_inputs="$job_inputs${job_inputs:+,}
$_line"
    done <<EOF
$_x
EOF
}

job_row() {
    _json "$2"
    job_rows="$job_rows${job_rows:+, }\"$1\": $_r"
}

job_output() {
    job_dir=${2%/*}
    if [ -z "$job_stage" ]; then
        for _path in "$job_dir"/.stage-*; do
            [ ! -e "$_path" ] || rm -rf -- "$_path"
        done
        job_stage=$job_dir/.stage-$job_host-$$
        mkdir -p -- "$job_stage"
    fi
    job_ports="$job_ports $1:${2##*/}"
    eval "out_$1=\$job_stage/\${2##*/}"
}

job_run() {
    for _word; do
        _home "$_word"
        _json "$_p"
        job_argv="$job_argv${job_argv:+, }$_r"
    done
    _children
    job_cpu0=$_u
    SNAKESCOPE_VERSION_FILE=$job_stage/.version "$@" >"$job_log" 2>&1 </dev/null
    _finish
}

_finish() { # the tool ended well: check, move and measure its outputs, then write the record
    set --
    for _pair in $job_ports; do
        if [ ! -e "$job_stage/${_pair#*:}" ]; then
            echo "error: the program ended without an error but did not write ${_pair#*:} (output ${_pair%%:*})" >>"$job_log"
            exit 1
        fi
        [ ! -e "$job_dir/${_pair#*:}" ] || rm -rf -- "$job_dir/${_pair#*:}"
        set -- "$@" "$job_stage/${_pair#*:}"
    done
    mv -- "$@" "$job_dir/"
    for _pair in $job_ports; do
        _path=$job_dir/${_pair#*:}
        _digest "$_path"
        _bytes "$_path"
        _image "$_path"
        _json "$_path"
        job_outputs="$job_outputs${job_outputs:+,}
    {\"port\": \"${_pair%%:*}\", \"path\": $_r, \"bytes\": $_b, \"sha256\": $_d$_g}"
    done
    _write "$job_record" done 0
    trap - EXIT INT TERM
    rm -rf -- "$job_stage"
}

_died() { # RC: leave the facts of the failure where Snakemake does not delete them
    trap - EXIT INT TERM
    # 130: somebody pressed Ctrl-C, which is no failure; no staging folder: another run of this job took over
    if [ "$1" != 130 ] && { [ -z "$job_stage" ] || [ -d "$job_stage" ]; }; then
        job_outputs=
        _write "$job_failed" failed "$1" || :
    fi
    [ -z "$job_stage" ] || rm -rf -- "$job_stage"
    exit "$1"
}

_seconds() { # COUNT DIGITS -> _r: a count of hundredths (2) or thousandths (3) as seconds; null for an empty one
    _r=null
    [ -n "$1" ] || return 0
    _f=000$1
    if [ "$2" = 2 ]; then _n=${_f%??}; else _n=${_f%???}; fi
    _f=${_f#"$_n"}
    while :; do case $_n in 0?*) _n=${_n#0} ;; *) break ;; esac; done
    _r=$_n.$_f
}

_write() { # FILE STATUS RC
    _now
    _clock
    [ -z "$_c" ] || [ -z "$job_clock" ] || _c=$((_c - job_clock))
    _seconds "$_c" 2
    _wall=$_r _cpu=null _version=null _scheduler=null _environment='"kind": "host"'
    if [ -n "$job_cpu0" ]; then
        _children
        [ -z "$_u" ] || _seconds "$((_u - job_cpu0))" 3 && _cpu=$_r
    fi
    if [ -n "$job_stage" ] && [ -r "$job_stage/.version" ] && read -r _n <"$job_stage/.version"; then
        _json "$_n"
        _version=$_r
    fi
    if [ -n "${SLURM_JOB_ID-}" ]; then
        _json "${SLURM_JOB_ID-}" && _scheduler="{\"kind\": \"slurm\", \"job_id\": $_r"
        _json "${SLURM_JOB_PARTITION-}" && _scheduler="$_scheduler, \"partition\": $_r}"
    fi
    if [ -n "${APPTAINER_CONTAINER-}" ]; then
        _home "$APPTAINER_CONTAINER"
        _json "$_p" && _environment="\"kind\": \"apptainer\", \"image\": $_r"
    elif [ -n "${CONDA_PREFIX-}" ]; then
        _json "${CONDA_PREFIX##*/}" && _environment="\"kind\": \"conda\", \"name\": $_r"
    fi
    _snakemake=null
    if [ -n "${SNAKESCOPE_SNAKEMAKE-}" ]; then _json "$SNAKESCOPE_SNAKEMAKE" && _snakemake=$_r; fi
    _json "$job_unit" && _unit=$_r
    _json "$job_host" && _h=$_r
    _tmp=$1.$job_host.$$
    {
        printf '{\n  "schema": 1,\n  "status": "%s",\n  "unit": %s,\n  "samples": [%s],\n' "$2" "$_unit" "$job_samples"
        printf '  "step": "%s",\n  "snakemake": %s,\n' "$job_step" "$_snakemake"
        printf '  "started_at": "%s",\n  "ended_at": "%s",\n  "wall_s": %s,\n' "$job_started" "$_t" "$_wall"
        printf '  "cpu_s": %s,\n  "exit_code": %s,\n  "host": %s,\n  "scheduler": %s,\n' "$_cpu" "$3" "$_h" "$_scheduler"
        printf '  "environment": {%s},\n  "tool_version_observed": %s,\n' "$_environment" "$_version"
        printf '  "argv": [%s],\n  "row_parameters": {%s},\n' "$job_argv" "$job_rows"
        printf '  "inputs": [%s\n  ],\n  "outputs": [%s\n  ],\n  "compiled": ' "$job_inputs" "$job_outputs"
        if [ -r "$job_facts" ]; then cat -- "$job_facts"; else echo null; fi
        echo '}'
    } >"$_tmp"
    mv -f -- "$_tmp" "$1"
}
