//! Commands that build plugins: with the toolchain of whoever runs the tests, and into this workspace's target folder,
//! so that one build of the dependencies serves all of them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Time for a build of all dependencies, on a machine that is busy with other tests.
pub(crate) const BUILD: Duration = Duration::from_secs(900);
const TARGET: &str = "wasm32-wasip2";

/// Lets a command find cargo, and the target for WebAssembly; fails with what to do where that is missing.
#[track_caller]
pub(crate) fn with_toolchain(command: &mut Command) -> &mut Command {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .expect("there is no rustc on PATH; install Rust with rustup");
    let libraries = PathBuf::from(String::from_utf8_lossy(&libraries.stdout).trim());
    assert!(
        libraries.is_dir(),
        "this test builds plugins; run: rustup target add {TARGET}"
    );

    // The home of these tests is a folder of their own.
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    for (variable, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let place = env::var_os(variable).map_or_else(|| home.join(folder), PathBuf::from);
        if place.is_dir() {
            command.env(variable, place);
        }
    }
    // Flags and wrappers that are meant for this machine.
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC",
    ] {
        command.env_remove(variable);
    }
    command.env("CARGO_TARGET_DIR", target())
}

/// Where the plugins of this workspace are built too.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("plugins")
}
