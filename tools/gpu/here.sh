# Where the GPU programs are, for test.sh and bench.sh, which read this: beside this folder once the bundle is unpacked,
# else unpacked from build/gpu/bundle.tar.xz, which is made first where cargo is at hand.
# Sets `root`, `bundle` and what the programs look at.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
if [ -d "$root/bin" ] && [ -f "$root/commit" ]; then
    bundle=$root
else
    if command -v cargo >/dev/null && [ -z "${VIVA_TENSOR_KEEP_BUNDLE-}" ]; then
        "$root/tools/gpu/bundle.sh"
    fi
    packed=$root/build/gpu/bundle.tar.xz
    [ -f "$packed" ] || {
        echo "there is no build/gpu/bundle.tar.xz: make gpu-bundle, where Rust is, and bring it here" >&2
        exit 1
    }
    bundle=$root/build/gpu/unpacked
    rm -rf "$bundle"
    mkdir -p "$bundle"
    tar -C "$bundle" -xJf "$packed"
fi
export VIVA_TENSOR_FIXTURES="$bundle/test/fixtures"
VIVA_TENSOR_COMMIT=$(cat "$bundle/commit")
export VIVA_TENSOR_COMMIT

# The GPU's name, or the reason why there is none.
gpu() { "$bundle/bin/bench_gpu" name; }

# Runs Erlang with the bundle's own files: beam -eval ...
beam() {
    erts=$(echo "$bundle"/otp/erts-*)
    LD_LIBRARY_PATH="$bundle/otp/linked${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
        ROOTDIR=$bundle/otp BINDIR=$erts/bin EMU=beam PROGNAME=erl \
        "$erts/bin/erlexec" -pa "$bundle/package/ebin" -noshell "$@"
}
