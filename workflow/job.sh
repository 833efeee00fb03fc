# What every compiled rule does around its tool. POSIX sh, run by dash or bash on the host, by any sh in an image.
#
#   job_begin    STEP UNIT RECORD LOG FACTS    start a job; FACTS is the compiled part of its record
#   job_environment THREADS TMPDIR KIND [NAME [SHA256]]   where it runs: host, conda (file) or apptainer (image)
#   job_samples  ID...                         the rows of a group; a job over one row needs no such line
#   job_source   PORT KNOWN PATH...             inputs from the sheet; KNOWN = sha256 | record path | - (hash now)
#   job_shared   PORT KEY... PATH...            inputs that many jobs share, a key each: hashed once for the study
#   job_upstream PORT OUTPUT PATH...            inputs made by a step: digests come from that step's records
#   job_row      NAME VALUE                     a parameter that the row brought along
#   job_output   PORT PATH [folder]             an output, a file unless told; the tool writes to "$out_PORT"
#   job_home                                   an empty home folder for the tool; after the outputs
#   job_model    VARIABLE PATH SHA256          a file that the tool needs, told in a variable
#   job_macro    STYLE FILE MINUTES            an ImageJ macro ($job_macro), its time ($job_limit) and how it is told things:
#                                              list | script | SEPARATOR; what follows is put into one text, $job_told
#   job_path     NAME [PATH]                    a file that the macro is told of, by its whole path
#   job_value    NAME [VALUE]                   a value that the macro is told
#   job_version  COMMAND...                    prints the version of the tool; its first line with a digit is kept
#   job_run      ARGV...                        run the tool, move the outputs into place, write the record
#
# The tool writes into a staging folder of its own beside the final place; only a job that succeeded moves its
# outputs there, and the record comes last. So a half-written output never stands under a final name, two jobs
# at once never mix, and a record means: done. A failure leaves its facts beside the log.
#
# Needs: sh, mkdir, mv, rm, sed. Uses date, find, sha256sum (or shasum), sort, uname, wc where they are; what they
# would have told is null without them. Values reach the record through _json alone.

set -eu
job_tab='	'
job_newline='
'
_now() { # -> _t: UTC, to the second
    if [ -n "${BASH_VERSION-}" ] && [ "${BASH_VERSINFO-0}" -ge 5 ]; then
        TZ=UTC0 printf -v _t '%(%Y-%m-%dT%H:%M:%SZ)T' -1
    else
        _t=$(date -u +%Y-%m-%dT%H:%M:%SZ 2>/dev/null) || _t=
    fi
}

# A job starts several small programs, which takes bash twice as long as dash. So in the bash that Snakemake started,
# all after its first line (which has activated a conda environment, if there is one) is left to dash, where that is.
# Not so where `module` is a function, which a cluster's tools may want: dash hands no function on to its programs.
if [ -n "${BASH_EXECUTION_STRING-}" ] && [ -x /bin/dash ] && ! type module >/dev/null 2>&1; then
    _s=${BASH_EXECUTION_STRING#*"$job_newline"}
    case ${_s%%"$job_newline"*} in
    *'. '*job.sh*)
        _now
        SNAKESCOPE_BEGAN=$_t exec /bin/dash -c "$_s"
        ;;
    esac
fi

job_mark=$job_tab # stands in no JSON text, where a tab is written out
# What file names in a listing consist of: no letter that sha256sum or JSON writes otherwise, in any language.
job_plain='ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 !#$%&()*+,./:;<=>?@[^_`{|}~'

_json() { # TEXT -> _r: the text as a JSON string, quoted; control characters other than tab and newline are blanks
    _s=$1 _r=\"
    while :; do
        case $_s in
        *[\"\\[:cntrl:]]*)
            _q=${_s%%[\"\\[:cntrl:]]*}
            _s=${_s#"$_q"}
            _k=${_s%"${_s#?}"}
            _s=${_s#?}
            case $_k in
            \" | \\) _k=\\$_k ;;
            "$job_tab") _k=\\t ;;
            "$job_newline") _k=\\n ;;
            *) _k=' ' ;;
            esac
            _r=$_r$_q$_k
            ;;
        *) break ;;
        esac
    done
    _r=$_r$_s\"
}

_quoted() { # TEXT -> _r: as _json, but null for an empty text
    _r=null
    [ -z "$1" ] || _json "$1"
}

_home() { # WORD -> _p: the word as a record may tell it: final paths instead of staged ones, no home folder
    _p=$1
    [ -z "$job_stage" ] || _swap "$job_stage" "$job_dir" any
    [ -z "$job_home" ] || _swap "$job_home" '~' path
}

_swap() { # FROM TO any|path: replace in _p; `path`: only where FROM begins a path and is not part of a longer name
    case $_p in *"$1"*) ;; *) return 0 ;; esac
    _rest=$_p _p=
    while :; do
        case $_rest in *"$1"*) ;; *) break ;; esac
        _p=$_p${_rest%%"$1"*}
        _rest=${_rest#*"$1"}
        _to=$1
        case $3$_rest in
        any* | path | path/* | path[,:\;=\ \"\'\)\]]*)
            case $3$_p in any* | path | path-[A-Za-z] | *[,:\;=\ \"\'\(\[@]) _to=$2 ;; esac
            ;;
        esac
        _p=$_p$_to
    done
    _p=$_p$_rest
}

_clock() { # -> _c: a clock in hundredths of a second, or empty
    _c=
    if [ -r /proc/uptime ]; then
        read -r _c _ </proc/uptime
        _c=${_c%.*}${_c#*.}
    fi
}

_tree() { # FOLDER [size] -> _d, _b, _l: digest (of its `sha256sum` list, ordered by name) and sizes or null; listing
    _d=null _b=null _l=
    _x=$(find "$1/" -type f ! -name .snakemake_timestamp -exec wc -c {} + 2>/dev/null) || return 0
    _b=0
    while read -r _n _name; do
        case $_n:$_name in
        : | *[0-9]:total) ;;
        [0-9]*:*/*) _b=$((_b + _n)) ;;
        *) _b=null && break ;; # the rest of a name with a line end in it
        esac
    done <<EOF
$_x
EOF
    [ -n "$job_sha" ] && [ "${2-}" != size ] || return 0
    _list=$(cd "$1" && find . -type f ! -name .snakemake_timestamp -exec $job_sha {} + | sed 's|  \./|  |' | LC_ALL=C sort -k 2) || return 0
    _x=$(printf '%s' "$_list${_list:+$job_newline}" | $job_sha) || return 0
    _d=\"${_x%% *}\"
    _listing
}

_listing() { # -> _l: the list of a folder's files as a JSON key; empty for a long one, or one with odd names
    _l=
    [ -n "$_list" ] && [ "${#_list}" -le 20000 ] || return 0
    case $_list in *[!-"$job_plain$job_newline"]*) return 0 ;; esac
    while IFS= read -r _line; do # one by one: bash takes seconds over a long text
        _k=${_line%%  *}
        [ "${#_k}" = 64 ] || { _l= && return 0; }
        _json "$_line"
        _r=${_r#\"}
        _l=$_l${_l:+\\n}${_r%\"}
    done <<EOF
$_list
EOF
    _l=", \"listing\": \"$_l\""
}

_size_of() { # PATH -> _e: its size as a JSON key, or a mark for it that _fill replaces, for all files in their order
    if [ -d "$1" ]; then
        _tree "$1" size
        _e="\"bytes\": $_b"
    else
        job_files="$job_files$1$job_newline"
        _e="\"bytes\": $job_mark,"
    fi
}

_facts_of() { # PATH -> _e, _l: its size and digest as JSON keys, or the marks for them; listing, for the end
    _l=
    if [ -d "$1" ]; then
        _tree "$1"
        _e="\"bytes\": $_b, \"sha256\": $_d"
    else
        _size_of "$1"
        job_unhashed="$job_unhashed$1$job_newline"
        _e="$_e, \"sha256\": $job_mark;"
    fi
}

_fill() { # put sizes and digests in for all marks; null where they are not to be had
    [ -n "$job_files" ] || return 0
    _sizes=/dev/null _digests=/dev/null
    if [ "$job_measure" = yes ]; then
        _sizes=$job_stage/.sizes _digests=$job_stage/.digests
        _of_all "$_sizes" "$job_files" wc -c
        if [ -n "$job_unhashed" ] && [ -n "$job_sha" ]; then
            _of_all "$_digests" "$job_unhashed" $job_sha
        else
            _digests=/dev/null
        fi
    fi
    exec 3<"$_sizes" 4<"$_digests"
    _filled "$job_inputs"
    job_inputs=$_r
    _filled "$job_outputs"
    job_outputs=$_r
    exec 3<&- 4<&-
}

_of_all() { # FILE PATHS COMMAND...: write what it prints for the paths, a line each; nothing when it cannot read one
    _to=$1 _paths=$2
    shift 2
    IFS=$job_newline
    set -f
    # shellcheck disable=SC2086 # split at newlines, which no path here holds
    set -- "$@" -- $_paths
    set +f
    unset IFS
    "$@" >"$_to" 2>/dev/null || : >"$_to"
}

_filled() { # ENTRIES -> _r: with a size from descriptor 3 and a digest from 4 for each mark, one entry after the other
    _r=
    IFS=$job_newline
    set -f
    for _line in $1; do
        while :; do
            case $_line in *"$job_mark"*) ;; *) break ;; esac
            _rest=${_line#*"$job_mark"} _k=
            case $_rest in
            ,*) IFS=' ' read -r _k _ <&3 || _k= ;;
            *) IFS=' ' read -r _k _ <&4 || _k= ;;
            esac
            _k=${_k#\\} # which sha256sum sets before the digest of a file with an odd name
            case $_rest in \;*) _k=${_k:+\"}${_k:-null}${_k:+\"} ;; esac
            _line=${_line%%"$job_mark"*}${_k:-null}${_rest#?}
        done
        _r=$_r$job_newline$_line
    done
    set +f
    unset IFS
}

_image() { # OME-Zarr 0.5 folder -> _g: its axes, shape, sample type and scale as it says itself, as JSON keys
    _g=
    [ -r "$1/zarr.json" ] && [ -r "$1/0/zarr.json" ] || return 0
    _x=$(sed -n 'H;${x;s/[[:space:]]//g;p;}' "$1/zarr.json" "$1/0/zarr.json") || return 0
    case $_x in *\"multiscales\"*\"axes\":\[*\"scale\":\[*\"shape\":\[*) ;; *) return 0 ;; esac
    _axes=
    _n=${_x#*\"axes\":\[}
    _n=${_n%%]*}
    while :; do
        case $_n in *\"name\":\"*) ;; *) break ;; esac
        _n=${_n#*\"name\":\"}
        _axes=$_axes${_n%%\"*}
        _n=${_n#*\"}
    done
    _n=${_x##*\"shape\":\[} _m=${_x#*\"scale\":\[} _k=${_x##*\"data_type\":\"}
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

_ms() { # 1m2.345s (1m2,345s in some languages) -> _m: milliseconds
    _s=${1#*m}
    _f=${_s#*[.,]}
    _f=${_f%s}000
    _f=${_f%"${_f#???}"}
    _s=${_s%[.,]*}
    _m=$((${1%%m*} * 60000 + _s * 1000 + 1$_f - 1000))
}

_host() { # -> _h: name of this machine
    _h=${HOSTNAME-}
    [ -n "$_h" ] || read -r _h 2>/dev/null </proc/sys/kernel/hostname || _h=$(uname -n 2>/dev/null) || _h=unknown
}

job_begin() {
    job_step=$1 job_unit=$2 job_record=$3 job_log=$4 job_facts=$5
    job_inputs='' job_outputs='' job_rows='' job_argv='' job_stage='' job_dir='' job_ports='' job_folders='' job_cpu0=''
    job_macro='' job_limit='' job_style='' job_told='' job_shown='' job_between=''
    job_files='' job_unhashed='' job_measure=yes job_kind='' job_name='' job_digest='-' job_version=''
    job_failed=${job_log%.*}.failed.json
    _json "$job_unit"
    job_samples=$_r
    job_home=${SNAKESCOPE_HOME-${HOME-}}
    while :; do case $job_home in */) job_home=${job_home%/} ;; *) break ;; esac; done
    job_sha=
    if command -v sha256sum >/dev/null 2>&1; then
        job_sha=sha256sum
    elif command -v shasum >/dev/null 2>&1; then
        job_sha='shasum -a 256'
    fi
    _host
    job_host=$_h
    [ -n "${SNAKESCOPE_BEGAN-}" ] && _t=$SNAKESCOPE_BEGAN || _now
    unset SNAKESCOPE_BEGAN
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

job_environment() {
    job_kind=$3 job_name=${4-} job_digest=${5--}
    export TMPDIR="$2" TMP="$2" TEMP="$2" TEMPDIR="$2"
    export OMP_NUM_THREADS="$1" OPENBLAS_NUM_THREADS="$1" GOTO_NUM_THREADS="$1" MKL_NUM_THREADS="$1"
    export VECLIB_MAXIMUM_THREADS="$1" NUMEXPR_NUM_THREADS="$1" NUMBA_NUM_THREADS="$1"
    export ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="$1"
    [ "$job_kind" = apptainer ] || return 0
    for _k in http_proxy https_proxy ftp_proxy all_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY; do
        eval "_q=\${$_k-}"
        case $_q in *@*) unset "$_k" ;; esac # Apptainer lets it in, with somebody's password
    done
}

job_home() {
    case $job_stage in /*) HOME=$job_stage/.home ;; *) HOME=$PWD/$job_stage/.home ;; esac
    mkdir -p -- "$HOME"
    export HOME XDG_CACHE_HOME="$HOME/.cache" XDG_CONFIG_HOME="$HOME/.config" XDG_DATA_HOME="$HOME/.local/share"
    export JAVA_TOOL_OPTIONS="${JAVA_TOOL_OPTIONS-}${JAVA_TOOL_OPTIONS:+ }-Duser.home=\"$HOME\"" # Java asks the passwd file
}

job_model() {
    if [ ! -e "$2" ]; then
        echo "error: there is no model file $2" >"$job_log"
        exit 1
    fi
    case $2 in /*) _path=$2 ;; *) _path=$PWD/$2 ;; esac
    export "$1=$_path"
}

job_version() {
    _x=$("$@" 2>&1 </dev/null) || return 0
    while IFS= read -r _line; do
        case $_line in *[0-9]*) job_version=$_line && break ;; esac
    done <<EOF
$_x
EOF
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
        _key=${_known%% *}
        _known=${_known#* }
        _origin "$_path"
        case $_key in
        records/*) ;;
        *) [ -z "$_from" ] || _key=$_sum ;;
        esac
        if [ "$_key" = - ]; then _facts_of "$_path"; else _size_of "$_path"; fi
        case $_key in
        -) _e=$_e$_l ;;
        records/*) _e="$_e, \"sha256\": null, \"record\": \"$_key\"" ;;
        *) _e="$_e, \"sha256\": \"$_key\"" ;;
        esac
        _entry "$_port" "${_from:-$_path}" "$_e$_more"
    done
}

_origin() { # PATH -> _from, _more, _sum: what a staged copy is a copy of; that as JSON keys; its sha256 or -
    _from='' _more='' _sum=''
    case $1 in
    staged/*/*) [ -r "${1%/*}/.source" ] || return 0 ;;
    *) return 0 ;;
    esac
    { IFS= read -r _w && IFS= read -r _n && IFS= read -r _sum; } <"${1%/*}/.source" || return 0
    _from=$_w
    _json "$1"
    _more=", \"staged\": $_r"
    [ "$_n" = - ] || { _json "$_n" && _more=", \"checksum\": $_r$_more"; }
}

job_shared() {
    _port=$1 _keys=
    shift
    _i=$(($# / 2))
    while [ "$_i" -gt 0 ]; do
        _keys="$_keys$1 " _i=$((_i - 1))
        shift
    done
    for _path; do
        _shared "$_path" "${_keys%% *}"
        _keys=${_keys#* }
        _entry "$_port" "$_path" "\"bytes\": $_b, \"sha256\": $_d$_l"
    done
}

_shared() { # PATH KEY -> _d, _b, _l: digest and size, which another job may have taken since the file last changed
    _d=null _l= _file=
    case $job_record in
    records/*/* | */records/*/*) _file=${job_record%/*/*}/inputs/$2 ;;
    esac
    _bytes "$1"
    if [ -r "$_file" ] && ! _newer "$1" "$_file"; then
        read -r _d _n <"$_file" || _d=null
        [ "$_n" = "$_b" ] || _d=null
    fi
    [ "$_d" = null ] || return 0
    _one "$1"
    if [ -n "$_file" ] && [ "$_d" != null ]; then
        mkdir -p -- "${_file%/*}"
        printf '%s %s\n' "$_d" "$_b" >"$_file.$job_host.$$"
        mv -f -- "$_file.$job_host.$$" "$_file"
    fi
}

_newer() { # PATH FILE: whether the path, or anything in that folder, was changed after the file
    if [ -d "$1" ]; then
        [ -n "$(find "$1/" -newer "$2" 2>/dev/null || echo unknown)" ]
    else
        [ "$1" -nt "$2" ]
    fi
}

_bytes() { # PATH -> _b: size, or null
    if [ -d "$1" ]; then
        _tree "$1" size
    else
        _x=$(wc -c 2>/dev/null <"$1") && _b=$((_x)) || _b=null
    fi
}

_one() { # PATH -> _d, _l: digest, or null; listing
    _d=null _l=
    if [ -d "$1" ]; then
        _tree "$1"
    elif [ -n "$job_sha" ]; then
        _x=$($job_sha 2>/dev/null <"$1") && _d=\"${_x%% *}\" || _d=null
    fi
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
    _x=$(sed -n '/^  "outputs": \[/,/^  \]/{s/,$//;s/, "listing": "[^"]*"}$/}/;s/^    {"port": "'"$_out"'", /    {"port": "'"$_port"'", /p;}' "$@") || _x=
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
        job_stage=$job_dir/.stage-$job_host-$$
        _claim
    fi
    job_ports="$job_ports $1:${2##*/}"
    [ "${3-}" != folder ] || job_folders="$job_folders $1 "
    eval "out_$1=\$job_stage/\${2##*/}"
}

_claim() { # make this run the one that may leave something, and clear away what others have begun
    [ -d "$job_dir" ] || mkdir -p -- "$job_dir"
    printf '%s\n' "$job_stage" >"$job_dir/.owner"
    for _path in "$job_dir"/.stage-*; do
        _owner
        [ ! -e "$_path" ] || [ "$_path" = "$_o" ] || rm -rf -- "$_path" 2>/dev/null || : # its run may still be writing there
    done
    mkdir -p -- "$job_stage"
    for _path in "$job_record".*.* "$job_failed".*.*; do # cut off while it was written; whoever wrote it has lost the job
        [ -e "$_path" ] || continue
        _owner
        [ "$_o" = "$job_stage" ] || break
        rm -f -- "$_path"
    done
}

_owner() { # -> _o: staging folder of the run that claimed this job last
    _o=$job_stage _i=0
    while [ -r "$job_dir/.owner" ] && [ "$_i" -lt 1000 ]; do # it is empty while another run is writing it
        ! read -r _o 2>/dev/null <"$job_dir/.owner" || break
        _i=$((_i + 1))
    done
}

_mine() { # whether no other run has claimed this job since
    _owner
    [ "$_o" = "$job_stage" ] && [ -d "$job_stage" ]
}

_lost() {
    echo 'error: another run of this job took over' >>"$job_log"
    exit 1
}

job_macro() {
    job_style=$1 job_limit=$(($3 * 60 - 20))
    case $2 in /*) job_macro=$2 ;; *) job_macro=$PWD/$2 ;; esac
    export LC_ALL=C.UTF-8 # else Java opens no file whose name has a letter beyond ASCII
}

job_path() {
    case ${2-} in '' | /*) _told "$1" "${2-}" "${2-}" ;; *) _told "$1" "$PWD/$2" "$2" ;; esac
}

job_value() {
    _told "$1" "${2-}" "${2-}"
}

_told() { # NAME VALUE SHOWN: add to what the macro is told; SHOWN goes into the record
    case $job_style in
    list | script)
        [ -n "$2" ] || return 0
        _json "$2" # whose escapes are those of both
        [ "$job_style" = script ] || _property "$2"
        job_told=$job_told$job_between$1=$_r
        ;;
    *)
        case $2 in *"$job_style"*)
            echo "error: $1 is $2; the macro takes '$job_style' for the end of a value. Give the file or value another name." >"$job_log"
            exit 2
            ;;
        esac
        job_told=$job_told$job_between$2
        ;;
    esac
    job_shown=$job_shown${job_between:+ }$1=$3
    case $job_style in list) job_between=$job_newline ;; script) job_between=, ;; *) job_between=$job_style ;; esac
}

_property() { # TEXT, which _json has made _r of -> _r: as a line of Java's properties has it, which are Latin-1
    _r=${_r#\"}
    _r=${_r%\"}
    case $_r in ' '*) _r=\\$_r ;; esac
    case $1 in *[!-"$job_plain$job_tab\"\'\\"]*) ;; *) return 0 ;; esac
    _n=0
    _x=$(printf %s "$1" | od -An -v -tu1) || return 0
    set --
    for _k in $_x; do
        if [ "$_k" -lt 128 ]; then
            _m=$_k
        elif [ "$_k" -lt 192 ]; then
            _m=$((_m * 64 + _k - 128)) _n=$((_n - 1))
        elif [ "$_k" -lt 224 ]; then
            _m=$((_k - 192)) _n=1
        elif [ "$_k" -lt 240 ]; then
            _m=$((_k - 224)) _n=2
        else
            _m=$((_k - 240)) _n=3
        fi
        if [ "$_n" -gt 0 ]; then
            continue
        elif [ "$_m" -lt 65536 ]; then
            set -- "$@" "$_m"
        else # a pair of surrogates
            set -- "$@" $((55232 + _m / 1024)) $((56320 + _m % 1024))
        fi
    done
    # shellcheck disable=SC2059 # once for each
    _r=$(printf '\\u%04x' "$@")
}

job_run() {
    for _word; do
        [ -z "$job_told" ] || [ "$_word" != "$job_told" ] || _word=$job_shown
        [ -z "$job_macro" ] || [ "$_word" != "$job_macro" ] || _word=${_word#"$PWD/"}
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
        _path=$job_stage/${_pair#*:}
        if [ ! -e "$_path" ]; then
            _silent "${_pair#*:} (output ${_pair%%:*})"
            exit 1
        fi
        case $job_folders in *" ${_pair%%:*} "*) _kind=folder ;; *) _kind=file ;; esac
        if [ -d "$_path" ]; then _x=folder; else _x=file; fi
        if [ "$_x" != $_kind ]; then
            echo "error: the program wrote a $_x in place of the $_kind ${_pair#*:} (output ${_pair%%:*})" >>"$job_log"
            exit 1
        fi
        set -- "$@" "$_path"
    done
    _mine || _lost
    [ ! -e "$job_record" ] || rm -f -- "$job_record"
    _forget_benchmark
    for _pair in $job_ports; do
        [ ! -e "$job_dir/${_pair#*:}" ] || rm -rf -- "$job_dir/${_pair#*:}"
    done
    mv -- "$@" "$job_dir/"
    for _pair in $job_ports; do
        _path=$job_dir/${_pair#*:}
        _facts_of "$_path"
        _image "$_path"
        _home "$_path"
        _json "$_p"
        job_outputs="$job_outputs${job_outputs:+,}
    {\"port\": \"${_pair%%:*}\", \"path\": $_r, $_e$_g$_l}"
    done
    _fill
    case $job_sha$job_outputs in
    sha*'"sha256": null'*) # a full disk has no room for the digests; such a job is not done
        echo "error: no digest could be taken of an output (is the disk full?)" >>"$job_log"
        exit 1
        ;;
    esac
    _mine || _lost
    trap '' INT TERM # else a job could be done and told to have failed
    _write "$job_record" done 0
    trap - EXIT INT TERM
    rm -rf -- "$job_stage" "$job_dir/.owner"
}

_forget_benchmark() { # an older one would tell of another run, if Snakemake is killed before it writes this one's
    case $job_record in
    records/*/*.json | */records/*/*.json) ;;
    *) return 0 ;;
    esac
    _x=${job_record%/*/*}
    _path=${_x%records}benchmarks/${job_record#"$_x/"}
    _path=${_path%.json}.tsv
    [ ! -e "$_path" ] || rm -f -- "$_path"
}

_silent() { # OUTPUT: say that the program did not write it, and what of Java's words tells why
    _why=
    if [ -n "$(sed -n '/HeadlessException/{p;q;}' "$job_log")" ]; then
        _why="; it found no display (HeadlessException): it needs xvfb-run, or to be started as a headless program"
    elif [ -n "$job_macro" ]; then
        _x=$(sed -n '$p' "$job_log") && _why=${_x:+"; its last words: $_x"}
    fi
    echo "error: the program ended without an error but did not write $1$_why" >>"$job_log"
}

_died() { # RC: leave the facts of the failure where Snakemake does not delete them
    trap - EXIT INT TERM
    [ -z "${_tmp-}" ] || rm -f -- "$_tmp" # a record that the disk had no room for
    if [ -n "$job_limit" ] && _clock && [ $((${_c:-0} - ${job_clock:-0})) -ge $((job_limit * 100)) ]; then
        echo "error: ended after $job_limit s. A window that nobody sees may have waited for an answer, as after a mistake in the macro; else it needs more runtime_min" >>"$job_log"
    fi
    # 130: somebody pressed Ctrl-C, which is no failure
    if [ "$1" != 130 ] && { [ -z "$job_stage" ] || _mine; }; then
        job_outputs=
        job_measure=no
        _fill
        _write "$job_failed" failed "$1" || :
    fi
    if [ -n "$job_stage" ]; then
        if _mine; then rm -f -- "$job_dir/.owner"; fi
        rm -rf -- "$job_stage"
    fi
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

_packages() { # -> job_digest: of the names of the packages that are in the environment, or -; a study keeps it
    job_digest=- _file=
    [ -d "$CONDA_PREFIX/conda-meta" ] && [ -n "$job_sha" ] || return 0
    case $job_record in
    records/*/* | */records/*/*) _file=${job_record%records/*/*}.snakescope/conda/${CONDA_PREFIX##*/} ;;
    esac
    if [ "$_file" -nt "$CONDA_PREFIX/conda-meta" ] && { read -r job_digest && IFS= read -r _x; } <"$_file" && [ "$_x" = "$CONDA_PREFIX" ]; then
        return 0
    fi
    job_digest=-
    _x=$(LC_ALL=C && export LC_ALL && cd "$CONDA_PREFIX/conda-meta" && printf '%s\n' *.json | $job_sha) || return 0
    job_digest=${_x%% *}
    [ -n "$_file" ] || return 0
    { mkdir -p -- "${_file%/*}" && printf '%s\n' "$job_digest" "$CONDA_PREFIX" >"$_file.$job_host.$$" && mv -f -- "$_file.$job_host.$$" "$_file"; } 2>/dev/null || :
}

_digest() { # add the digest that the job was told of to its environment
    case $job_digest in -) _environment="$_environment, \"sha256\": null" ;; *) _environment="$_environment, \"sha256\": \"$job_digest\"" ;; esac
}

_write() { # FILE STATUS RC
    _now
    _clock
    [ -z "$_c" ] || [ -z "$job_clock" ] || _c=$((_c - job_clock))
    _seconds "$_c" 2
    _wall=$_r _cpu=null _version=null _scheduler=null _environment='"kind": "host"'
    if [ -n "$job_cpu0" ]; then
        _children
        if [ -n "$_u" ]; then
            _seconds "$((_u - job_cpu0))" 3
            _cpu=$_r
        fi
    fi
    if [ -n "$job_stage" ] && [ -r "$job_stage/.version" ] && read -r _n <"$job_stage/.version"; then
        job_version=$_n
    fi
    _quoted "$job_version" && _version=$_r
    if [ -n "${SLURM_JOB_ID-}" ]; then
        _json "${SLURM_JOB_ID-}" && _scheduler="{\"kind\": \"slurm\", \"job_id\": $_r"
        _json "${SLURM_JOB_PARTITION-}" && _scheduler="$_scheduler, \"partition\": $_r}"
    fi
    _told=${APPTAINER_CONTAINER-${SINGULARITY_CONTAINER-}}
    if [ -n "$_told" ]; then
        [ "$job_kind" != apptainer ] || _told=$job_name
        _home "$_told"
        _json "$_p" && _environment="\"kind\": \"apptainer\", \"image\": $_r"
        [ "$job_kind" != apptainer ] || _digest
    elif [ -n "${CONDA_PREFIX-}" ]; then
        _json "${CONDA_PREFIX##*/}" && _environment="\"kind\": \"conda\", \"name\": $_r"
        if [ "$job_kind" = conda ]; then
            _json "$job_name" && _environment="$_environment, \"file\": $_r"
            _packages
            _digest
        fi
    fi
    _quoted "${SNAKESCOPE_SNAKEMAKE-}" && _snakemake=$_r
    _quoted "$job_started" && _started=$_r
    _quoted "$_t" && _ended=$_r
    _json "$job_unit" && _unit=$_r
    _json "$job_host" && _h=$_r
    _tmp=$1.$job_host.$$
    {
        printf '{\n  "schema": 1,\n  "status": "%s",\n  "unit": %s,\n  "samples": [%s],\n' "$2" "$_unit" "$job_samples"
        printf '  "step": "%s",\n  "snakemake": %s,\n' "$job_step" "$_snakemake"
        printf '  "started_at": %s,\n  "ended_at": %s,\n  "wall_s": %s,\n' "$_started" "$_ended" "$_wall"
        printf '  "cpu_s": %s,\n  "exit_code": %s,\n  "host": %s,\n  "scheduler": %s,\n' "$_cpu" "$3" "$_h" "$_scheduler"
        printf '  "environment": {%s},\n  "tool_version_observed": %s,\n' "$_environment" "$_version"
        printf '  "argv": [%s],\n  "row_parameters": {%s},\n' "$job_argv" "$job_rows"
        printf '  "inputs": [%s\n  ],\n  "outputs": [%s\n  ],\n  "compiled": ' "$job_inputs" "$job_outputs"
        if [ -r "$job_facts" ]; then
            while IFS= read -r _line; do printf '%s\n' "$_line"; done <"$job_facts"
        else
            echo null
        fi
        echo '}'
    } >"$_tmp"
    mv -f -- "$_tmp" "$1"
}
