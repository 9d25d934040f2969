#!/bin/sh
# The official conformance suite against a platform of its own, for both eras.
# usage: scripts/conformance.sh [tenant|upstream|replicas|client|authorization|reference …]   (all but the last when none is named)
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

target=${CARGO_TARGET_DIR:-target}
program=${TRUNKLINE:-$target/debug/trunkline}
[ $# -gt 0 ] || set -- tenant upstream replicas client authorization
# Not below the target folder: as root the services run as another user, who may not enter there.
state=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-conformance.XXXXXX")
chmod 711 "$state"
job=''
# What runs below ends all it has started when it is told to.
trap '[ -z "$job" ] || { kill -TERM "$job" 2>/dev/null || true; wait "$job" || true; }; rm -rf "$state"' EXIT
trap 'exit 143' INT TERM

node_22 "$target/clients"
npm_packages tests/conformance
echo "conformance: the official suite, $*"
"$node" tests/conformance/main.mjs "$program" "$state" "$target/conformance" "$@" &
job=$!
wait "$job" || code=$?
job=''
exit "${code:-0}"
