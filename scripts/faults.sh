#!/bin/sh
# The matrix of faults at full length, each test with a whole installation of its own, and the table of its rows at the end.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
# Not below the target folder: as root the services run as another user, who may not enter there.
state=$(mktemp -d "${TMPDIR:-/tmp}/trunkline-faults.XXXXXX")
chmod 711 "$state"
trap 'rm -rf "$state"' EXIT

cargo build --locked
cargo test --locked -p trunkline-tests --no-run
# Ten thousand streams, and as many clients, are files.
ulimit -n "$(ulimit -Hn)"

# Half an hour at most, by one clock for all of it: what has not run by then has not passed.
export TRUNKLINE_FULL=1 TRUNKLINE_ROUNDS="${TRUNKLINE_ROUNDS:-100}" TRUNKLINE_OUTAGE_S="${TRUNKLINE_OUTAGE_S:-60}"
export TRUNKLINE_FIGURES="$state/figures" TRUNKLINE_FAULTS_LOG="$state/log"
: >"$TRUNKLINE_FIGURES"
{ timeout 1800 "$target/debug/trunkline" services --dir "$state" -- cargo test --locked -p trunkline-tests -- ::f_ ||
    echo "faults: some tests failed, or half an hour is over" >&2; } | tee "$TRUNKLINE_FAULTS_LOG"
RUST_BACKTRACE=0 cargo test --quiet --locked -p trunkline-tests -- --ignored --exact faults::report::print_the_table_of_a_run
