#!/bin/sh
# Builds build/greeter-rust.wasm. Exits with 3 where the toolchain is missing.
set -eu
cd "$(dirname "$0")"

missing() {
    echo "greeter-rust: $1" >&2
    exit 3
}

command -v cargo >/dev/null || missing "there is no cargo; install Rust 1.95 or newer with rustup"
libraries=$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null || true)
[ -d "$libraries" ] || missing "this Rust cannot build for WebAssembly; run: rustup target add wasm32-wasip2"

target="${GREETER_TARGET_DIR:-$PWD/build/target}"
cargo build --release --locked --target wasm32-wasip2 --target-dir "$target"
mkdir -p build
cp "$target/wasm32-wasip2/release/greeter_rust.wasm" build/greeter-rust.wasm
cp plugin.toml build/
echo "built build/greeter-rust.wasm, $(wc -c <build/greeter-rust.wasm) bytes"
