//! Compiles the plugins for `wasm32-wasip2` and puts them where `lib.rs` embeds them.
//!
//! The plugins are a workspace of their own with a target folder of their own, so that the cargo that runs this
//! script and the one it starts never wait for each other's lock.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const TARGET: &str = "wasm32-wasip2";
/// Name and folder under `plugins/` of each plugin that is always embedded.
const PLUGINS: &[(&str, &str)] = &[
    ("tcp-proxy", "tcp-proxy"),
    ("ping", "ping"),
    ("traceroute", "traceroute"),
    ("names-local", "names-local"),
    ("names-dns", "names-dns"),
];
/// The same for the feature `test-guests`.
const TEST_GUESTS: &[(&str, &str)] = &[
    ("hostile", "test-guests/hostile"),
    ("sync", "test-guests/sync"),
    ("probe", "test-guests/probe"),
    ("probe-0-1-0", "test-guests/probe-0-1-0"),
];
/// What the plugins are made of besides their own folders, from the root of the repository. Single paths,
/// because a build folder that somebody has among them is no reason to run again.
const SOURCES: &[&str] = &[
    "plugins/Cargo.toml",
    "plugins/Cargo.lock",
    "plugin-sdk/Cargo.toml",
    "plugin-sdk/src",
    "wit",
];
/// Variables of the outer build that would change the inner one: flags and wrappers meant for the host.
const FOREIGN: &[&str] = &[
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "LLVM_PROFILE_FILE",
];
/// The few variables of cargo that the inner build keeps: where things are cached, how registries are
/// reached, and the shared pool of jobs.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let root = manifest_dir
        .ancestors()
        .nth(2)
        .ok_or("no repository around this crate")?;
    let test_guests = env::var_os("CARGO_FEATURE_TEST_GUESTS").is_some();
    let plugins: Vec<_> = PLUGINS
        .iter()
        .chain(TEST_GUESTS.iter().filter(|_| test_guests))
        .collect();

    watch(root);
    check_target()?;
    let target_dir = plugin_target_dir(&out_dir)?;
    compile(root, &target_dir, plugins.iter().map(|(name, _)| *name))?;
    for (name, _) in plugins {
        let built = format!("peerup_plugin_{}.wasm", name.replace('-', "_"));
        let built = target_dir.join(TARGET).join("release").join(built);
        let embedded = out_dir.join(format!("{name}.wasm"));
        fs::copy(&built, &embedded).map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; run this through cargo"))
}

fn watch(root: &Path) {
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    // All of them, whatever the features: the inner build reads the manifests of the whole workspace.
    for (_, folder) in PLUGINS.iter().chain(TEST_GUESTS) {
        for part in ["Cargo.toml", "src"] {
            println!(
                "cargo::rerun-if-changed={}",
                root.join("plugins").join(folder).join(part).display()
            );
        }
    }
}

/// Fails with the command to run where this toolchain cannot compile for WebAssembly.
fn check_target() -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("cannot run {}: {error}", rustc.display()))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && libraries.is_dir() {
        return Ok(());
    }
    Err(format!(
        "the plugins cannot be compiled: this toolchain has no {TARGET}; run `rustup target add {TARGET}`"
    ))
}

/// Returns `plugins` beside the profile folder: OUT_DIR is `<target>/<profile>/build/<package>/out`.
fn plugin_target_dir(out_dir: &Path) -> Result<PathBuf, String> {
    let target = out_dir
        .ancestors()
        .nth(4)
        .ok_or_else(|| format!("no target folder above {}", out_dir.display()))?;
    Ok(target.join("plugins"))
}

fn compile<'a>(root: &Path, target_dir: &Path, plugins: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root.join("plugins"))
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target_dir);
    for plugin in plugins {
        command.arg("--package").arg(format!("peerup-plugin-{plugin}"));
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_foreign) {
            command.env_remove(name);
        }
    }
    let output = command
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "the plugins do not compile:\n{}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn is_foreign(name: &str) -> bool {
    FOREIGN.contains(&name) || (name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept)))
}
