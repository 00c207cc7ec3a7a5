#!/bin/sh
# Compiles the CUDA kernels for every GPU, without one, and fails where one of them spills; then the code for any model as
# PTX, kernels/generic.ptxs, which the next build embeds. `kernels.sh generic` makes that alone, in a fraction of the time;
# `kernels.sh check` compiles all of it and leaves no file that would make the next build another one.
#
# NVIDIA's compiler, a Python package, goes into .toolchain/nvrtc where the system has none. What has compiled is not
# compiled again until something that goes in changes; KERNELS=again does it anyway.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/native/target}
nvrtc=$root/.toolchain/nvrtc
stamp=$target/kernels.checked
generic=$root/kernels/generic.ptxs

cd "$root"
state=$(find kernels native/engine/src/backend/cuda native/engine/examples/compile_kernels.rs -name '*.cu' -o -name '*.cuh' \
    -o -name '*.rs' | LC_ALL=C sort | xargs cat | cksum)
mode=${1-all}
# What is already done for these sources.
checked=; made=
if [ "${KERNELS-}" != again ]; then
    [ "$(cat "$stamp" 2>/dev/null)" != "$state" ] || checked=1
    [ ! -f "$generic" ] || [ "$(cat "$stamp.generic" 2>/dev/null)" != "$state" ] || made=1
fi
case $mode in
    check) made=1 ;;
    generic) checked=1 ;;
esac
if [ "$checked$made" = 11 ]; then
    [ "$mode" = generic ] || echo 'kernels: unchanged since they were compiled for every GPU'
    exit 0
fi
if [ ! -d "$nvrtc/nvidia" ] && ! ldconfig -p 2>/dev/null | grep -q 'libnvrtc\.so\.1[2-9]'; then
    # As a variable, because pip before 22.1 does not know the option.
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$nvrtc.new" nvidia-cuda-nvrtc-cu12
    rm -rf "$nvrtc"
    mv "$nvrtc.new" "$nvrtc"
fi
export PYTHONPATH="$nvrtc${PYTHONPATH:+:$PYTHONPATH}"
cd native
compile() { cargo run --quiet --release --locked -p viva_tensor_engine --example compile_kernels -- "$@"; }
if [ "$checked" ]; then
    compile --generic "$generic"
else
    # The file is wanted only where it is not made for these sources.
    if [ "$made" ]; then out=$target/generic.ptxs; else out=$generic; fi
    compile "$out"
    echo "$state" >"$stamp"
fi
[ "$made" ] || echo "$state" >"$stamp.generic"
