#!/bin/sh
# Finds what `make run` or `make test` needs and installs what is missing from the distribution's packages.
# usage: scripts/install.sh run|test
set -eu

purpose=${1:-run}
case $purpose in
run | test) ;;
*)
    echo "usage: scripts/install.sh run|test" >&2
    exit 2
    ;;
esac

has() { command -v "$1" >/dev/null 2>&1; }

has_postgres() {
    has initdb && has postgres && return 0
    for program in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql@*/bin/initdb \
        /usr/local/opt/postgresql@*/bin/initdb; do
        [ -x "$program" ] && return 0
    done
    return 1
}

has_compiler() { has cc || has gcc || has clang; }
has_venv() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_browser() { has chromium || has chromium-browser || has google-chrome; }

if ! has cargo; then
    echo "install: Rust is missing. Install it from https://rustup.rs and start again." >&2
    exit 1
fi

# What is missing, by the names of both package managers.
debian='' brew=''
need() {
    debian="$debian $1"
    brew="$brew $2"
}
has_compiler || need gcc gcc
has_postgres || need postgresql postgresql@17
if ! has redis-server && ! has valkey-server; then
    # Newer distributions have only one of them.
    if has apt-cache && ! apt-cache show redis-server >/dev/null 2>&1 && apt-cache show valkey-server >/dev/null 2>&1; then
        need valkey-server valkey
    else
        need redis-server valkey
    fi
fi
has node || need nodejs node
has npm || need npm node
if [ "$purpose" = test ]; then
    has_browser || need chromium chromium
    has chromedriver || need chromium-driver chromedriver
    has_venv || need python3-venv python
    has openssl || need openssl openssl
    # For promtool, which checks the rules in deploy/prometheus; no server runs.
    has promtool || need prometheus prometheus
fi

[ -n "$debian" ] || exit 0

if [ "$(uname)" = Darwin ]; then
    command="brew install$(printf '%s\n' $brew | sort -u | tr '\n' ' ' | sed 's/^/ /')"
    if has brew; then
        echo "install: $command"
        exec $command
    fi
    echo "install: missing:$debian. Install Homebrew from https://brew.sh, then run: $command" >&2
    exit 1
fi

manual="sudo apt-get install --no-install-recommends$debian"
if ! has apt-get; then
    echo "install: missing:$debian (names of Debian's packages). Install them with your system's package manager and start again." >&2
    exit 1
fi

as_root=''
if [ "$(id -u)" != 0 ]; then
    # Asks for a password only where somebody can type one.
    if has sudo && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
        as_root=sudo
    else
        echo "install: missing:$debian. Without the right to install them: ask somebody who has it to run" >&2
        echo "    $manual" >&2
        exit 1
    fi
fi

echo "install: missing:$debian; installing from the distribution's packages"
# Debian's package would make and start a cluster for the whole machine; ours are private.
case $debian in
*postgresql*)
    $as_root mkdir -p /etc/postgresql-common
    if ! grep -qs '^create_main_cluster' /etc/postgresql-common/createcluster.conf; then
        echo "create_main_cluster = false" | $as_root tee -a /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    ;;
esac
had_redis=no
[ -e /lib/systemd/system/redis-server.service ] && had_redis=yes
had_prometheus=no
[ -e /lib/systemd/system/prometheus.service ] && had_prometheus=yes
$as_root apt-get update -qq || echo "install: apt-get update failed; trying with the package lists there are" >&2
if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $debian; then
    echo "install: the packages could not be installed; run this by hand and see what it says:" >&2
    echo "    $manual" >&2
    exit 1
fi
# The same for Redis and Prometheus, but only for what this script brought.
if has systemctl && [ -d /run/systemd/system ]; then
    case $debian in
    *redis-server* | *valkey-server*)
        [ "$had_redis" = yes ] || $as_root systemctl disable --now redis-server valkey-server >/dev/null 2>&1 || true
        ;;
    esac
    case $debian in
    *prometheus*)
        [ "$had_prometheus" = yes ] || $as_root systemctl disable --now prometheus >/dev/null 2>&1 || true
        ;;
    esac
fi
echo "install: done"
