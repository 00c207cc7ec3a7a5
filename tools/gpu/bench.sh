#!/bin/sh
# Measures decoding, prefill, linears with packed weights, loading and the way through the BEAM on the first GPU; writes
# bench/results/<gpu>.json.
#
# bench.sh [MODEL:FORMAT …], for example `bench.sh tinyllama:F16 llama-8b:F8_E4M3`; OUT=FILE writes elsewhere, and
# SCRATCH=FOLDER is where checkpoints are written for loading (13.5 GB; LOAD=llama-1b:F16 takes less, LOAD= none).
set -eu
. "$(dirname -- "$0")/here.sh"

name=$(gpu | tr '[:upper:] ' '[:lower:]-')
out=${OUT:-$root/bench/results/$name.json}
mkdir -p "$(dirname -- "$out")"
"$bundle/bin/bench_gpu" measure "$out" "$@"
"$bundle/bin/bench_linear_gpu" "$out"

load=${LOAD-llama2-7b:F16}
[ -n "$load" ] || exit 0
scratch=${SCRATCH:-${TMPDIR:-/tmp}}/viva_tensor_bench
trap 'rm -rf "$scratch"' EXIT
# Through sessions, as the engine alone does it; and the same from Gleam.
"$bundle/bin/gpu_checkpoint" write "$load" "$scratch/load"
"$bundle/bin/gpu_checkpoint" load "$out" "$load" "$scratch/load"
rm -rf "$scratch/load"
[ -d "$bundle/otp" ] || exit 0
for pair in tinyllama:F16 llama-8b:F16; do
    "$bundle/bin/gpu_checkpoint" write "$pair" "$scratch/model"
    # Twice: the first load compiles.
    for _ in 1 2; do
        beam -eval "'viva_tensor@cli':main()." -extra bench "$scratch/model" --json | tail -n 1 >"$scratch/gleam.json"
    done
    "$bundle/bin/gpu_checkpoint" compare "$out" "$pair" "$scratch/model" "$scratch/gleam.json"
    rm -rf "$scratch/model"
done
