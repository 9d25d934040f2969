#!/bin/sh
# Third-party front-end files and the engine of functions: from npm by lock file, checked by digest, copied to static/vendor and
# server/sandbox/vendor. Does nothing when they are up to date.
set -eu
cd "$(dirname "$0")/.."

stamp=node_modules/.assets
wanted=$(cat package-lock.json package.json scripts/assets.mjs | cksum)
if [ -f static/vendor/icons.svg ] && [ -f server/sandbox/vendor/quickjs.wasm ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi
if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    echo "assets: node and npm are missing; scripts/install.sh run installs them" >&2
    exit 1
fi
echo "assets: fetching third-party front-end files from npm"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
node scripts/assets.mjs
printf '%s\n' "$wanted" >"$stamp"
