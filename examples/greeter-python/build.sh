#!/bin/sh
# Builds build/greeter-python.wasm. Exits with 3 where the toolchain is missing.
set -eu
cd "$(dirname "$0")"

missing() {
    echo "greeter-python: $1" >&2
    exit 3
}

version=0.25.1
tool="build/venv/bin/componentize-py"
if [ "$("$tool" --version 2>/dev/null || true)" != "componentize-py $version" ]; then
    command -v python3 >/dev/null || missing "there is no python3; install Python 3.10 or newer"
    mkdir -p build
    python3 -m venv build/venv >&2 || missing "python3 has no venv; on Debian: apt-get install python3-venv"
    build/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt >&2 ||
        missing "pip cannot install what requirements.txt names; see above"
fi

contract="${PEERUP_WIT:-../../wit/0.1.1}"
[ -d "$contract" ] || missing "no $contract; point PEERUP_WIT at the folder of the contract"
mkdir -p build
cp plugin.toml build/
# Two builds of the same source differ in some bytes, and compiling takes the host long: none without need.
if [ -f build/greeter-python.wasm ] && [ -z "$(find greeter.py requirements.txt wit build.sh "$contract" -newer build/greeter-python.wasm)" ]; then
    echo "build/greeter-python.wasm is up to date"
    exit 0
fi
# --stub-wasi: the interpreter would import sockets, which peerup does not offer. Without WASI there is no
# clock and no output but the contract's log, and `random` gives the same numbers in every instance.
PYTHONDONTWRITEBYTECODE=1 "$tool" --quiet --wit-path "$contract" --wit-path wit --world example:greeter/greeter \
    componentize --stub-wasi --python-path . --output build/greeter-python.wasm greeter
echo "built build/greeter-python.wasm, $(wc -c <build/greeter-python.wasm) bytes"
