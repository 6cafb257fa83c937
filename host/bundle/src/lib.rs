//! The first-party plugins, compiled to WebAssembly and embedded.
