#!/bin/sh
# Brings what viva_tensor is built and tested with: Erlang, Elixir, gleam, pip, a C linker.
#
# What is on PATH and new enough is used as it is. Otherwise Debian's packages are installed, and gleam
# is built from tools/gleam into .toolchain/bin, which the Makefile puts first on PATH. A run in which
# nothing is missing reads only .toolchain/ready, which describes the programs as they were last checked.
# The surprise: where PATH's erl is too old and Debian's is not, .toolchain/bin gets wrappers that run
# Debian's, so nobody has to reorder PATH.
set -eu

ERLANG=27
ELIXIR=1.18
GLEAM=1.14

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
toolchain=$root/.toolchain
# PATH as the caller has it, without what this script put there.
path=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vxF "$toolchain/bin" | paste -sd: -)
# rustup puts cargo where only login shells look.
path=$path:${HOME-}/.cargo/bin
PATH=$toolchain/bin:$path

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}

# --- what is there -----------------------------------------------------------------------------------

# at_least WANTED FOUND: compares "1.18" with "1.18.3", number by number.
at_least() {
    [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$1" ]
}

# All that the checks below depend on, as text. It takes milliseconds.
state() {
    cat "$root/tools/setup.sh" "$root"/tools/gleam/Cargo.* "$root"/tools/gleam/src/* | cksum
    for program in cargo cc python3 erl elixir mix gleam; do
        at=$(PATH=$path command -v "$program") && ls -lLin "$at"
    done
    ls -lLin "$toolchain/bin"
}

first_number() { sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p' | head -n 1; }

# The OTP release, or nothing when a part that is needed lacks (Debian packages applications and headers singly).
erlang_version() {
    command -v erl >/dev/null || return 0
    erl -boot no_dot_erlang -noshell -eval '
        Needed = ["compiler/ebin", "crypto/ebin", "eunit/include/eunit.hrl", "kernel/include/file.hrl"],
        Found = [Part || Part <- Needed, [Name | Rest] <- [filename:split(Part)],
            Folder <- [code:lib_dir(list_to_atom(Name))], is_list(Folder),
            filelib:is_file(filename:join([Folder | Rest]))],
        Found =:= Needed andalso io:put_chars(erlang:system_info(otp_release)),
        halt().' </dev/null 2>/dev/null || true
}

elixir_version() {
    command -v elixir >/dev/null && command -v mix >/dev/null || return 0
    elixir --short-version </dev/null 2>/dev/null | first_number
}

gleam_version() { gleam --version </dev/null 2>/dev/null | first_number; }

# --- Debian's packages -------------------------------------------------------------------------------

# The machine's own Debian sources, read for the next release: same mirror, same keys, other suite.
# Prints nothing when they are not Debian 12's.
next_release_sources() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] && awk '
            BEGIN { RS = ""; FS = "\n" }
            {
                kept = ""; wanted = 0; skipped = 0; main = 0; official = 0
                for (i = 1; i <= NF; i++) {
                    if ($i ~ /^#/) continue
                    line = $i; key = tolower(line); sub(/:.*/, "", key)
                    value = line; sub(/^[^:]*:[ \t]*/, "", value)
                    if (key == "enabled" && tolower(value) ~ /^(no|false|0|off)/) skipped = 1
                    if (key == "types") line = "Types: deb"
                    if (key == "types" && value !~ /(^|[ \t])deb([ \t]|$)/) skipped = 1
                    if (key == "uris" && value ~ /debian(-security)?\/*$/) official = 1
                    if (key == "components" && value ~ /(^|[ \t])main([ \t]|$)/) main = 1
                    if (key == "suites") {
                        count = split(value, suites, /[ \t]+/); line = "Suites:"
                        for (s = 1; s <= count; s++)
                            if (sub(/^(bookworm|oldstable)/, "trixie", suites[s]) \
                                && suites[s] ~ /^trixie(-security|-updates)?$/) {
                                line = line " " suites[s]; wanted = 1
                            }
                    }
                    kept = kept line "\n"
                }
                if (wanted && main && official && !skipped) print kept
            }' "$file"
    done
    return 0
}

next_release_list() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] && sed -nE '
            /^deb[[:space:]].*debian(-security)?\/*[[:space:]]+(bookworm|oldstable)(-security|-updates)?[[:space:]]+main/ {
                s/(debian(-security)?\/*[[:space:]]+)(bookworm|oldstable)/\1trixie/p
            }' "$file"
    done
    return 0
}

# Runs shell text as root. Without the means it shows the text and stops.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        sh -ec "$1" >&2
    elif command -v sudo >/dev/null && { [ -n "$interactive" ] || sudo -n true 2>/dev/null; }; then
        sudo sh -ec "$1" >&2
    else
        fail "this needs root and there is no sudo to be had. As root, run the commands above, then try again."
    fi
}

install_packages() {
    command -v apt-get >/dev/null || fail "missing: $missing. Without apt this script can't install them:" \
        "put Erlang/OTP >= $ERLANG, Elixir >= $ELIXIR, Python 3 with pip and a C linker (cc) on PATH, then try again."

    suite='' prepare='' from=''
    name=/etc/apt/sources.list.d/viva-tensor-trixie
    if [ -n "$beam_packages" ]; then
        suite="-t '/^trixie(|-security|-updates)\$/' "
        if [ ! -e $name.sources ] && [ ! -e $name.list ]; then
            extension=sources from=$(next_release_sources)
            [ -n "$from" ] || { extension=list from=$(next_release_list); }
            if [ -n "$from" ]; then
                # At 100, nothing comes from there unless it is asked for or already came from there.
                prepare="cat > $name.$extension <<'END'
$from
END
cat > /etc/apt/preferences.d/viva-tensor-trixie <<'END'
Package: *
Pin: release o=Debian,n=trixie*
Pin-Priority: 100
END
"
            else
                suite=''
            fi
        fi
    fi
    prepare="${prepare}apt-get -qq -o DPkg::Lock::Timeout=300 update"
    options="-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold --no-install-recommends"
    # apt asks nothing, for the question is asked here.
    finish="export DEBIAN_FRONTEND=noninteractive"
    [ -z "$packages" ] || finish="$finish
apt-get -q -y $options install $packages"
    [ -z "$beam_packages" ] || finish="$finish
apt-get -q -y $options install $suite$beam_packages"

    say "missing: $missing"
    say "these commands, as root, would install Debian's packages for that:"
    printf '\n%s\n%s\n\n' "$prepare" "$finish" >&2
    if [ -n "$from" ]; then
        say "on Debian 12 this takes from Debian 13 what Erlang needs and nothing else: about 29 packages, libc6"
        say "and openssl among them. It takes about half a minute."
    fi
    if [ -n "$interactive" ]; then
        printf 'setup: go on? [Y/n] ' >&2
        read -r answer || answer=n
        case $answer in '' | [Yy]*) ;; *) fail "nothing was installed." ;; esac
    fi
    as_root "$prepare"
    if [ -n "$beam_packages" ] && [ -z "$suite" ]; then
        candidate=$(LC_ALL=C apt-cache policy erlang-base | sed -n 's/ *Candidate: 1:\([0-9.]*\).*/\1/p')
        at_least $ERLANG "$candidate" ||
            fail "apt has ${candidate:-no} Erlang here, which is too old: put Erlang/OTP >= $ERLANG and Elixir >= $ELIXIR on PATH."
    fi
    # libssl3 goes because libssl3t64 holds the same library; anything else is its owner's to decide.
    removed=$(eval "apt-get -s --no-install-recommends install $suite$beam_packages" |
        sed -n 's/^Remv \([^ ]*\).*/\1/p' | grep -vx 'libssl3' | paste -sd' ' -)
    [ -z "$removed" ] || fail "apt would remove $removed for that. To allow it, run the commands above as root."
    as_root "$finish"
}

# Lets Debian's programs be found where older ones come first on PATH.
wrap() {
    for program in "$@"; do
        rm -f "$toolchain/bin/$program"
        hash -r
        [ "$(command -v "$program")" = "/usr/bin/$program" ] || [ ! -x "/usr/bin/$program" ] || {
            printf '#!/bin/sh\nexec /usr/bin/%s "$@"\n' "$program" >"$toolchain/bin/$program"
            chmod +x "$toolchain/bin/$program"
        }
    done
}

# --- gleam -------------------------------------------------------------------------------------------

build_gleam() {
    say "there is no gleam >= $GLEAM on PATH: building one from tools/gleam (about 3 minutes, once)"
    (cd "$root/tools/gleam" && cargo build --locked --target-dir target >&2) ||
        fail "gleam was not built. Or install the official one: https://gleam.run"
    # A running gleam keeps the file that it started from.
    cp "$root/tools/gleam/target/debug/gleam" "$toolchain/bin/gleam.new"
    mv "$toolchain/bin/gleam.new" "$toolchain/bin/gleam"
    (cd "$root/tools/gleam" && cat Cargo.* src/* | cksum) >"$toolchain/gleam.cksum"
}

gleam_is_current() {
    [ -x "$toolchain/bin/gleam" ] &&
        [ "$(cd "$root/tools/gleam" && cat Cargo.* src/* | cksum)" = "$(cat "$toolchain/gleam.cksum" 2>/dev/null)" ]
}

# --- from top to bottom ------------------------------------------------------------------------------

mkdir -p "$toolchain/bin"
[ "$(state)" != "$(cat "$toolchain/ready" 2>/dev/null)" ] || exit 0

interactive=''
[ -n "${CI-}" ] || [ ! -t 0 ] || [ ! -t 2 ] || interactive=yes

rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/native/Cargo.toml" | head -n 1)
found=$(cargo --version 2>/dev/null | first_number)
at_least "$rust" "$found" ||
    fail "Rust >= $rust is needed and ${found:-none} is on PATH. Install it (https://rustup.rs; or: rustup update)."

# What lacks, in words and as Debian's packages: of any release, and of one that is new enough.
missing='' packages='' beam_packages=''
lack() { missing="${missing:+$missing, }$1"; }
if ! at_least $ERLANG "$(erlang_version)"; then
    lack "Erlang/OTP >= $ERLANG"
    beam_packages='erlang-base erlang-crypto erlang-dev erlang-eunit'
fi
if ! at_least $ELIXIR "$(elixir_version)"; then
    lack "Elixir >= $ELIXIR"
    beam_packages="${beam_packages:+$beam_packages }elixir"
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    lack 'Python 3 with pip'
    packages='python3 python3-pip'
fi
if ! command -v cc >/dev/null; then
    lack 'a C linker (cc)'
    packages="${packages:+$packages }gcc libc6-dev"
fi

if [ -n "$missing" ]; then
    install_packages
    hash -r
    at_least $ERLANG "$(erlang_version)" || wrap erl erlc escript
    at_least $ELIXIR "$(elixir_version)" || wrap elixir elixirc mix iex
    found=$(erlang_version)
    at_least $ERLANG "$found" || fail "Erlang/OTP >= $ERLANG is needed; $(command -v erl || echo erl) is ${found:-not whole}."
    found=$(elixir_version)
    at_least $ELIXIR "$found" || fail "Elixir >= $ELIXIR is needed; $(command -v elixir || echo elixir) is ${found:-not whole}."
    python3 -m pip --version >/dev/null 2>&1 || fail "$(command -v python3 || echo python3) has no pip."
    command -v cc >/dev/null || fail "a C linker (cc) is still missing."
    say "Erlang/OTP $(erlang_version) and Elixir $(elixir_version) are there."
fi

if at_least $GLEAM "$(PATH=$path gleam_version)"; then
    rm -f "$toolchain/bin/gleam" # the one on PATH is to be found
elif ! gleam_is_current; then
    build_gleam
fi

state >"$toolchain/ready"
