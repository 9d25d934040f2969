#!/bin/sh
# Clients of others, unmodified, against a platform of their own: the official SDKs, FastMCP's client, the Inspector's command line.
# usage: scripts/clients.sh [demo|tenant|upstream|reference …]   (all but the last when none is named)
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

target=${CARGO_TARGET_DIR:-target}
program=${TRUNKLINE:-$target/debug/trunkline}
[ $# -gt 0 ] || set -- demo tenant upstream
# Not below the target folder: as root the services run as another user, who may not enter there.
state=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-clients.XXXXXX")
chmod 711 "$state"
job=''
# What runs below ends all it has started when it is told to.
trap '[ -z "$job" ] || { kill -TERM "$job" 2>/dev/null || true; wait "$job" || true; }; rm -rf "$state"' EXIT
trap 'exit 143' INT TERM

node_22 "$target/clients"
npm_packages tests/conformance
npm_packages tests/clients/typescript
npm_packages tests/clients/inspector
python_packages "$target/clients/python" tests/clients/python/requirements.txt
echo "clients: $*"
"$node" tests/clients/main.mjs "$program" "$python" "$state" "$target/clients/logs" "$@" &
job=$!
wait "$job" || code=$?
job=''
exit "${code:-0}"
