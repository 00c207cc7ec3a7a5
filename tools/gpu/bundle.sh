#!/bin/sh
# Packs what a Linux GPU machine needs to test and measure viva_tensor without Erlang, Rust or Gleam of its own:
# test programs, the bench, fixtures, the package's BEAM files with the native library, and Erlang's own.
#
# It writes build/gpu/bundle.tar.xz. There: tools/gpu/test.sh and tools/gpu/bench.sh, which the bundle contains, too.
# The surprise: programs need a glibc as new as this machine's.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
out=$root/build/gpu
target=${CARGO_TARGET_DIR:-$root/native/target}
work=$out/pack
rm -rf "$work"
mkdir -p "$work/bin" "$work/tools" "$work/test"

cd "$root/native"
cargo build --release --locked
cargo build --release --locked -p viva_tensor_engine --examples
# "  Executable tests/golden_cuda.rs (target/release/deps/golden_cuda-0123)": the path is absolute or native/'s.
cargo test --release --locked -p viva_tensor_engine --no-run 2>&1 |
    sed -n 's/^ *Executable tests\/\([a-z_]*_cuda\)\.rs (\(.*\))$/\1 \2/p' >"$work/programs"
while read -r name path; do
    strip -o "$work/bin/$name" "$path"
done <"$work/programs"
[ -x "$work/bin/golden_cuda" ] || { echo 'gpu-bundle: the tests were not built' >&2; exit 1; }
rm "$work/programs"
for name in bench_gpu bench_linear_gpu gpu_checkpoint; do
    strip -o "$work/bin/$name" "$target/release/examples/$name"
done

cd "$root"
changed=$(git status --porcelain --untracked-files=no -- native src kernels)
echo "$(git rev-parse --short=12 HEAD)${changed:+-dirty}" >"$work/commit"
cp -r test/fixtures "$work/test/"
cp -r tools/gpu "$work/tools/"
if [ -d build/dev/erlang/viva_tensor/ebin ]; then
    mkdir -p "$work/package/priv"
    cp -r build/dev/erlang/viva_tensor/ebin "$work/package/"
    strip -o "$work/package/priv/viva_tensor_nif.so" "$target/release/libviva_tensor_nif.so"
    erlang=$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')
    mkdir -p "$work/otp/lib" "$work/otp/bin"
    cp -r "$erlang"/erts-* "$work/otp/"
    cp "$erlang"/bin/*.boot "$work/otp/bin/"
    for name in kernel stdlib crypto eunit; do
        for path in "$erlang/lib/$name"-*; do
            mkdir -p "$work/otp/lib/${path##*/}"
            cp -r "$path/ebin" "$work/otp/lib/${path##*/}/"
            if [ -d "$path/priv" ]; then cp -r "$path/priv" "$work/otp/lib/${path##*/}/"; fi
        done
    done
    # What crypto is linked with may be older there.
    mkdir "$work/otp/linked"
    ldd "$work"/otp/lib/crypto-*/priv/lib/crypto.so |
        sed -n 's/.* => \(.*\/lib\(crypto\|z\|zstd\)\.so[^ ]*\) .*/\1/p' | xargs -I '{}' cp -L '{}' "$work/otp/linked/"
fi
tar -C "$work" -cJf "$out/bundle.tar.xz.new" .
mv "$out/bundle.tar.xz.new" "$out/bundle.tar.xz"
rm -rf "$work"
bytes=$(wc -c <"$out/bundle.tar.xz")
echo "build/gpu/bundle.tar.xz: $((bytes >> 20)) MB"
# What is carried to a GPU machine is to fit into one request.
[ "$bytes" -lt $((64 << 20)) ]
