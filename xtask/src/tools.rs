//! What the chores need from outside the repository: the wasm target of the Rust toolchain, and the
//! system packages that the lab uses.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use peerup_testkit::run;

use crate::workspace::{self, WASM_TARGET};

/// A program, where it is looked for beside PATH, and the Debian package that brings it.
const SYSTEM_TOOLS: [(&str, &str); 11] = [
    ("ping", "iputils-ping"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("curl", "curl"),
    ("iperf3", "iperf3"),
    ("dnsmasq", "dnsmasq-base"),
    ("python3", "python3"),
    ("systemd-nspawn", "systemd-container"),
];

const ASK_TIMEOUT: Duration = Duration::from_secs(60);

/// Installs the wasm target through rustup where it is missing.
///
/// # Errors
/// Names the command to run by hand where that does not work.
pub(crate) fn ensure_wasm_target() -> Result<()> {
    if has_wasm_target() {
        return Ok(());
    }
    println!("installing the {WASM_TARGET} target for the plugins");
    let mut rustup = workspace::command("rustup");
    rustup.args(["target", "add", WASM_TARGET]);
    workspace::execute(rustup).with_context(|| {
        format!("plugins are compiled for {WASM_TARGET}; run `rustup target add {WASM_TARGET}`")
    })
}

/// Asks the compiler itself, so that a toolchain without rustup will do.
fn has_wasm_target() -> bool {
    let mut rustc = workspace::command("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM_TARGET]);
    run("rustc", &mut rustc, ASK_TIMEOUT)
        .and_then(peerup_testkit::Finished::success)
        .is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Returns whether a program is on PATH or in the system's own folders.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Returns the full path of a program.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(own)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Returns whether this process is root.
pub(crate) fn is_root() -> bool {
    run("id", Command::new("id").arg("-u"), ASK_TIMEOUT).is_ok_and(|id| id.stdout.trim() == "0")
}

/// Installs the missing system packages with apt where this is root on a system with apt; says what is
/// missing where it is not.
///
/// # Errors
/// Where apt fails.
pub(crate) fn ensure_system_tools() -> Result<()> {
    let missing: Vec<&str> = SYSTEM_TOOLS
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        println!("missing on this system: {}", missing.join(" "));
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let update = Command::new("apt-get").args(["-qq", "update"]).status()?;
    ensure!(update.success(), "`apt-get update` ended with {update}");
    let mut install = Command::new("apt-get");
    install
        .args(["-qq", "-y", "--no-install-recommends", "install"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    workspace::execute(install)
}
