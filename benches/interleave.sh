#!/usr/bin/env bash
# Our bench and other people's on one model, in turn: A B C, A B C, … so that whatever else the machine does falls on all.
# Only medians of several rounds, and ratios within a round, say anything on a machine that is shared.
#
#   benches/interleave.sh [OPTION…] PHI_RUN MODEL.gguf LABEL=LLAMA_BENCH[,ARGUMENTS] …
#
#   -r N              rounds (5)
#   -p, -n, -d        tokens of a prompt, to generate, in the context before: a number or a list (512, 128, 0)
#   -t N              threads, of all programs (their own defaults, which may differ)
#   -ctk T, -ctv T    types of the KV cache, of all programs
#   --reps N          how often a program times each test in a round (1)
#   --ours ARGUMENTS  more arguments for PHI_RUN
#
# For example, with two builds of llama.cpp, the second with arguments of its own:
#
#   benches/interleave.sh -t 2 -p 512 -n 64 --ours '--isa avx2' target/release/phi-run phi-4-mini-Q4_0.gguf \
#       llama=build/bin/llama-bench 'llama-fa=build/bin/llama-bench,-fa 1'
#
# Each program warms up, and times a test `--reps` times, in every round. Where a quantized cache makes llama-bench fail,
# it wants `-fa 1`. A program that fails is named with its last words, and the others go on. Bash and awk are all it takes.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }
misuse() { echo "error: $*" >&2; echo "hint: \`$0 --help\` shows how" >&2; exit 2; }

rounds=5 reps=1 ours=()
common=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        -*) [ $# -ge 2 ] || misuse "$1 takes a value" ;;
    esac
    case $1 in
        -r) rounds=$2 ;;
        --reps) reps=$2 ;;
        -p | -n | -d | -t | -ctk | -ctv) common+=("$1" "$2") ;;
        --ours) read -r -a ours <<<"$2" ;;
        -*) misuse "$1 is no option" ;;
        *) break ;;
    esac
    shift 2
done
[ $# -ge 2 ] || misuse "a program and a model have to be given"
case $rounds$reps in *[!0-9]*) misuse "-r and --reps take numbers" ;; esac
phi_run=$1 model=$2
shift 2
[ -r "$model" ] || misuse "$model cannot be read"
command -v "$phi_run" >/dev/null || misuse "$phi_run is no program"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

# Lines `round TAB label TAB test TAB tokens/s` from CSV. A field may be quoted, and have commas and quotes in it.
rows() {
    awk -v round="$1" -v label="$2" '
        function split_csv(line, out,    n, field, quoted, i, c) {
            n = 0; field = ""; quoted = 0
            for (i = 1; i <= length(line); i++) {
                c = substr(line, i, 1)
                if (c == "\"" && quoted && substr(line, i + 1, 1) == "\"") { field = field c; i++ }
                else if (c == "\"") quoted = !quoted
                else if (c == "," && !quoted) { out[++n] = field; field = "" }
                else field = field c
            }
            out[++n] = field
            return n
        }
        { n = split_csv($0, field) }
        !found {
            # Some programs talk before their table.
            delete at
            for (i = 1; i <= n; i++) at[field[i]] = i
            found = ("n_prompt" in at) && ("avg_ts" in at)
            next
        }
        n >= at["avg_ts"] {
            p = field[at["n_prompt"]]; g = field[at["n_gen"]]; d = ("n_depth" in at) ? field[at["n_depth"]] : 0
            test = (p > 0 ? "pp" p : "") (p > 0 && g > 0 ? "+" : "") (g > 0 ? "tg" g : "") (d > 0 ? " @ d" d : "")
            if (field[at["avg_ts"]] + 0 > 0) printf "%s\t%s\t%s\t%s\n", round, label, test, field[at["avg_ts"]]
        }'
}

# Runs one program once, and keeps its rows.
run() {
    local round=$1 label=$2 status=0
    shift 2
    "$@" >"$folder/out" 2>"$folder/err" || status=$?
    rows "$round" "$label" <"$folder/out" >"$folder/new"
    cat "$folder/new" >>"$folder/all"
    if [ $status -ne 0 ] || [ ! -s "$folder/new" ]; then
        local how="exit status $status"
        [ $status -le 128 ] || how="signal $((status - 128))"
        echo "round $round: $label failed, $how"
        tail -n 3 "$folder/err" | sed 's/^/    /'
    fi
    awk -F '\t' '{ printf "round %s: %s: %s: %.2f\n", $1, $2, $3, $4 }' "$folder/new" >&2
}

: >"$folder/all"
for ((round = 1; round <= rounds; round++)); do
    run "$round" ours "$phi_run" bench "$model" --no-peaks -o csv -r "$reps" ${common[@]+"${common[@]}"} ${ours[@]+"${ours[@]}"}
    for peer in "$@"; do
        case $peer in ?*=?*) ;; *) misuse "$peer is not LABEL=PROGRAM" ;; esac
        label=${peer%%=*} program=${peer#*=} arguments=()
        case $program in
            *,*) read -r -a arguments <<<"${program#*,}"; program=${program%%,*} ;;
        esac
        run "$round" "$label" "$program" -m "$model" -o csv -r "$reps" ${common[@]+"${common[@]}"} ${arguments[@]+"${arguments[@]}"}
    done
done

[ -s "$folder/all" ] || { echo "error: nothing was measured" >&2; exit 1; }
awk -F '\t' '
    function median(x, n,    i, j, t) {
        for (i = 2; i <= n; i++) for (j = i; j > 1 && x[j - 1] > x[j]; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
        return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
    }
    # The median of ours to a peer, over the rounds in which both were measured; to the best of all where none is named.
    function ratio(test, peer,    round, n, x, other, l) {
        n = 0
        for (round = 1; round <= rounds; round++) {
            other = 0
            for (l = 1; l <= labels; l++)
                if (label[l] != "ours" && (peer == "" || label[l] == peer) && ts[round, label[l], test] > other)
                    other = ts[round, label[l], test]
            if (other && ts[round, "ours", test]) x[++n] = ts[round, "ours", test] / other
        }
        return n ? sprintf("%.3f", median(x, n)) : "-"
    }
    {
        if (!($2 in seen_label)) { seen_label[$2]; label[++labels] = $2 }
        if (!($3 in seen_test)) { seen_test[$3]; test[++tests] = $3 }
        ts[$1, $2, $3] = $4
        if ($1 > rounds) rounds = $1
    }
    END {
        printf "%-20s %-16s %6s %12s %10s\n", "test", "program", "rounds", "tokens/s", "ours to it"
        for (i = 1; i <= tests; i++) {
            for (l = 1; l <= labels; l++) {
                n = 0
                for (round = 1; round <= rounds; round++)
                    if ((round, label[l], test[i]) in ts && ts[round, label[l], test[i]]) x[++n] = ts[round, label[l], test[i]]
                if (n) printf "%-20s %-16s %6d %12.2f %10s\n", test[i], label[l], n, median(x, n), \
                    label[l] == "ours" ? "" : ratio(test[i], label[l])
            }
            if (labels > 2) printf "%-20s %-16s %6s %12s %10s\n", test[i], "best of them", "", "", ratio(test[i], "")
        }
    }' "$folder/all"
