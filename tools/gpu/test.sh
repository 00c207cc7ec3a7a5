#!/bin/sh
# Every test that needs a GPU, on a machine that has one; then the small ones again under compute-sanitizer, where that is.
#
# SANITIZE=0 leaves the latter out. It takes a compiler at run time: libnvrtc, by a CUDA toolkit or by
# `pip install nvidia-cuda-nvrtc-cu12`.
set -eu
. "$(dirname -- "$0")/here.sh"

echo "GPU: $(gpu)"
failed=
for program in "$bundle"/bin/*_cuda; do
    name=${program##*/}
    echo "== $name"
    # One at a time: they share the GPU's memory, and some count it.
    "$program" --test-threads=1 || failed="$failed $name"
done

if [ -d "$bundle/otp" ]; then
    echo '== Gleam, tensors and packed weights'
    (cd "$bundle" && beam -eval "
        Modules = ['viva_tensor@tensor_device_test', 'viva_tensor@packed_test'],
        Names = [{M, F} || M <- Modules, {F, 0} <- M:module_info(exports), lists:suffix(\"_test\", atom_to_list(F))],
        Done = eunit:test([{timeout, 120, fun M:F/0} || {M, F} <- Names], [verbose]),
        halt(case Done of ok -> 0; error -> 1 end).") || failed="$failed gleam"
fi

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
if [ -n "$sanitizer" ] && [ "${SANITIZE-1}" != 0 ]; then
    small='every_tiny_checkpoint a_session_on_the_gpu the_device_draws chunks_that_are_read a_prompt parts_are_picked views_are_laid nothing_comes what_is_no_number ends_are_those'
    for tool in memcheck racecheck initcheck; do
        for program in "$bundle"/bin/*_cuda; do
            name=${program##*/}
            # This one provokes a fault.
            [ "$name" != trouble_cuda ] || continue
            # A program that calls no GPU is an error for the sanitizer.
            # shellcheck disable=SC2086  # one word each
            "$program" --list $small 2>/dev/null | grep -q ': test$' || continue
            options="--tool $tool --error-exitcode 9"
            # A kernel is looked for in each part of the code, so that one call or another does not find it.
            [ "$tool" != memcheck ] || options="$options --report-api-errors no"
            echo "== $tool $name"
            # shellcheck disable=SC2086  # one word each
            VIVA_TENSOR_QUICK=1 "$sanitizer" $options "$program" --test-threads=1 $small || failed="$failed $tool:$name"
        done
    done
else
    echo 'compute-sanitizer is not here: its runs are left out'
fi
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
echo 'all passed'
