#!/bin/sh
# Runs Dialyzer over all that Mix compiles: the Erlang modules, Gleam's and Elixir's. `make lint` calls it.
#
# What Dialyzer has learned of OTP and Elixir is kept in .toolchain: that takes about three minutes, once for each version of
# them; then a run takes some seconds. Where there is no Dialyzer (Debian: erlang-dialyzer), nothing is checked.
set -eu

cd "$(dirname -- "$0")/.."
if ! command -v dialyzer >/dev/null; then
    echo 'There is no dialyzer, so it checked nothing.'
    exit 0
fi
# Debian's erl does not know where Elixir is.
ERL_LIBS=$(elixir -e 'IO.puts(Path.dirname(to_string(:code.lib_dir(:elixir))))')
export ERL_LIBS
known=.toolchain/dialyzer-$(erl -noshell -eval 'io:put_chars(erlang:system_info(version)), halt().')-$(elixir --short-version).plt
if [ ! -f "$known" ]; then
    echo 'Dialyzer reads OTP and Elixir (some minutes, once)'
    mkdir -p .toolchain
    # It ends with 2 where it does not know a type of an application that is left out.
    dialyzer --quiet --build_plt --output_plt "$known.new" -Wno_unknown \
        --apps erts kernel stdlib crypto inets ssl public_key elixir mix || [ $? = 2 ]
    mv "$known.new" "$known"
fi
# What ends the VM does not return.
dialyzer --quiet --no_check_plt --plt "$known" -Wno_return _build/dev/lib/viva_tensor/ebin
