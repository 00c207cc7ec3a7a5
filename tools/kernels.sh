#!/bin/sh
# Compiles the CUDA kernels for every GPU, without one, and fails where one of them spills; then the code for any model as
# PTX, kernels/generic.ptxs, which the next build embeds. `kernels.sh generic` makes that alone, in a fraction of the time.
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
state=$(cat kernels/*.cu kernels/*.cuh native/engine/src/backend/cuda/*.rs native/engine/examples/compile_kernels.rs | cksum)
if [ "${KERNELS-}" != again ] && [ -f "$generic" ]; then
    if [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
        echo 'kernels: unchanged since they were compiled for every GPU'
        exit 0
    elif [ "${1-}" = generic ] && [ "$(cat "$stamp.generic" 2>/dev/null)" = "$state" ]; then
        exit 0
    fi
fi
if [ ! -d "$nvrtc/nvidia" ] && ! ldconfig -p 2>/dev/null | grep -q 'libnvrtc\.so\.1[2-9]'; then
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --target "$nvrtc.new" nvidia-cuda-nvrtc-cu12
    rm -rf "$nvrtc"
    mv "$nvrtc.new" "$nvrtc"
fi
export PYTHONPATH="$nvrtc${PYTHONPATH:+:$PYTHONPATH}"
cd native
compile() { cargo run --quiet --release --locked -p viva_tensor_engine --example compile_kernels -- "$@"; }
if [ "${1-}" = generic ]; then
    compile --generic "$generic"
else
    compile "$generic"
    echo "$state" >"$stamp"
fi
echo "$state" >"$stamp.generic"
