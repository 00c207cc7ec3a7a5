#!/bin/sh
# Starts the shipped program, or a shell in which its modules can be called.
set -eu
shipment=$(dirname -- "$0")
command=${1:-run}
[ $# -eq 0 ] || shift
case $command in
run) exec erl -pa "$shipment"/*/ebin -eval 'PACKAGE@@main:run(PACKAGE)' -noshell -extra "$@" ;;
shell) exec erl -pa "$shipment"/*/ebin ;;
*)
    echo "usage: $0 [run [ARGUMENT...] | shell]" >&2
    exit 2
    ;;
esac
