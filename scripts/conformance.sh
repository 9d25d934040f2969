#!/bin/sh
# The official conformance suite against a platform of its own, for both eras.
# usage: scripts/conformance.sh [tenant|upstream|replicas|client|reference …]   (the first three when none is named)
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

target=${CARGO_TARGET_DIR:-target}
program=${TRUNKLINE:-$target/debug/trunkline}
[ $# -gt 0 ] || set -- tenant upstream replicas
# Not below the target folder: as root the services run as another user, who may not enter there.
state=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-conformance.XXXXXX")
chmod 711 "$state"
trap 'rm -rf "$state"' EXIT

node_22 "$target/clients"
npm_packages tests/conformance
echo "conformance: the official suite, $*"
"$node" tests/conformance/main.mjs "$program" "$state" "$target/conformance" "$@"
