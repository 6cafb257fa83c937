#!/bin/sh
# Builds build/greeter-js.wasm. Exits with 3 where the toolchain is missing.
set -eu
cd "$(dirname "$0")"

missing() {
    echo "greeter-js: $1" >&2
    exit 3
}

command -v node >/dev/null || missing "there is no node; install Node.js 20 or newer, https://nodejs.org"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
    missing "node is $(node --version); install Node.js 20 or newer, https://nodejs.org"
command -v npm >/dev/null || missing "there is no npm; it comes with Node.js"
if ! node -e 'await import("@bytecodealliance/jco"); await import("componentize-qjs")' --input-type=module 2>/dev/null; then
    npm ci --no-fund --no-audit >&2 ||
        missing "npm cannot get what package-lock.json names; see above, and run: npm ci"
fi

contract="${PEERUP_WIT:-../../wit/0.1.1}/peerup-plugin.wit"
[ -f "$contract" ] || missing "no $contract; point PEERUP_WIT at the folder of the contract"
mkdir -p build
cp plugin.toml build/
# Two builds of the same source differ in some bytes, and compiling takes the host long: none without need.
if [ -f build/greeter-js.wasm ] && [ -z "$(find greeter.js componentize.mjs package-lock.json wit build.sh "$contract" -newer build/greeter-js.wasm)" ]; then
    echo "build/greeter-js.wasm is up to date"
    exit 0
fi
mkdir -p build/wit/deps/peerup-plugin
cp wit/greeter.wit build/wit/
node componentize.mjs greeter.js "$contract" build/wit build/greeter-js.wasm
echo "built build/greeter-js.wasm, $(wc -c <build/greeter-js.wasm) bytes"
