#!/bin/sh
# Builds build/greeter-c.wasm. Exits with 3 where the toolchain is missing.
set -eu
cd "$(dirname "$0")"

missing() {
    echo "greeter-c: $1" >&2
    exit 3
}

clang="${CLANG:-}"
for candidate in clang-22 clang-21 clang-20 clang-19; do
    [ -n "$clang" ] || clang=$(command -v "$candidate" || true)
done
[ -n "$clang" ] || missing "there is no clang 19 or newer; on Debian: apt-get install clang-19 lld-19, or set CLANG"
command -v "$clang" >/dev/null || missing "CLANG names $clang, which cannot be run"
number="${clang##*-}"
wasm_ld=$("$clang" --target=wasm32-wasi -print-prog-name=wasm-ld)
command -v "$wasm_ld" >/dev/null || missing "clang finds no wasm-ld; on Debian: apt-get install lld-$number"
[ -f "$("$clang" --target=wasm32-wasi -print-libgcc-file-name)" ] ||
    missing "clang has no run-time library for WebAssembly; on Debian: apt-get install libclang-rt-$number-dev-wasm32"
[ -f /usr/include/wasm32-wasi/stdlib.h ] || missing "there is no libc for WebAssembly; on Debian: apt-get install wasi-libc"

version=0.63.0
bindgen="${WIT_BINDGEN:-wit-bindgen}"
case "$("$bindgen" --version 2>/dev/null || true)" in
*" $version"*) ;;
*) missing "there is no wit-bindgen $version; run: cargo install wit-bindgen-cli --version $version --locked, or set WIT_BINDGEN" ;;
esac
linker=$(command -v wasm-component-ld || true)
if [ -z "$linker" ] && command -v rustc >/dev/null; then
    host=$(rustc -vV | sed -n 's/^host: //p')
    linker="$(rustc --print sysroot)/lib/rustlib/$host/bin/wasm-component-ld"
fi
[ -x "$linker" ] || missing "there is no wasm-component-ld; it comes with Rust, or run: cargo install wasm-component-ld --locked"

contract="${PEERUP_WIT:-../../wit/0.1.1}"
[ -d "$contract" ] || missing "no $contract; point PEERUP_WIT at the folder of the contract"
mkdir -p build
"$bindgen" c "$contract" wit --world example:greeter/greeter --out-dir build/bindings >/dev/null
"$clang" --target=wasm32-wasi -mexec-model=reactor -Oz -Wall -Wextra -Werror -Ibuild/bindings \
    greeter.c json.c build/bindings/greeter.c build/bindings/greeter_component_type.o \
    -fuse-ld="$linker" -Wl,--strip-all -o build/greeter-c.wasm
cp plugin.toml build/
echo "built build/greeter-c.wasm, $(wc -c <build/greeter-c.wasm) bytes"
