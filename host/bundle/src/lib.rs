//! The first-party plugins, compiled to WebAssembly and embedded.
//!
//! The build script compiles the workspace `plugins/` for `wasm32-wasip2`; this crate only holds the result. It
//! reads and runs nothing.

/// A plugin that travels with the binary.
#[derive(Debug, Clone, Copy)]
pub struct Bundled {
    /// Its name, the same as in its manifest.
    pub name: &'static str,
    /// The component, in binary form.
    pub wasm: &'static [u8],
    /// Its manifest, the text of `plugin.toml`.
    pub manifest: &'static str,
}

macro_rules! bundled {
    ($name:literal, $folder:literal) => {
        Bundled {
            name: $name,
            wasm: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")),
            manifest: include_str!(concat!("../../../plugins/", $folder, "/plugin.toml")),
        }
    };
}

/// The plugins of every installation.
pub const BUNDLED: &[Bundled] = &[
    bundled!("tcp-proxy", "tcp-proxy"),
    bundled!("ping", "ping"),
    bundled!("traceroute", "traceroute"),
    bundled!("names-local", "names-local"),
    bundled!("names-dns", "names-dns"),
];

/// Plugins that misbehave on request.
#[cfg(feature = "test-guests")]
pub const TEST_GUESTS: &[Bundled] = &[
    bundled!("hostile", "test-guests/hostile"),
    bundled!("sync", "test-guests/sync"),
    bundled!("probe", "test-guests/probe"),
    bundled!("probe-0-1-0", "test-guests/probe-0-1-0"),
];
