#!/bin/sh
# OAuth clients of others, unmodified, against platforms of their own: the official SDKs, the Inspector's command line, general OAuth clients.
# usage: scripts/oauth.sh [typescript|python|inspector|independent|authlib …]   (all when none is named)
set -eu
cd "$(dirname "$0")/.."
. scripts/packages.sh

target=${CARGO_TARGET_DIR:-target}
program=${TRUNKLINE:-$target/debug/trunkline}
# Not below the target folder: as root the services run as another user, who may not enter there.
state=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-oauth.XXXXXX")
chmod 711 "$state"
job=''
# What runs below ends all it has started when it is told to.
trap '[ -z "$job" ] || { kill -TERM "$job" 2>/dev/null || true; wait "$job" || true; }; rm -rf "$state"' EXIT
trap 'exit 143' INT TERM

node_22 "$target/clients"
npm_packages tests/clients/typescript
npm_packages tests/clients/inspector
python_packages "$target/clients/python" tests/clients/python/requirements.txt
echo "oauth: clients of others, from the 401 to a call"
"$node" tests/clients/oauth.mjs "$program" "$python" "$state" "$target/clients/logs/oauth" "$@" &
job=$!
wait "$job" || code=$?
job=''
exit "${code:-0}"
