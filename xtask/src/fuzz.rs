//! `cargo xtask fuzz`: runs the fuzz targets for a while each. The tests replay the corpus; this grows it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use peerup_testkit::run as run_to_end;

use crate::workspace;

const ASK_TIMEOUT: Duration = Duration::from_secs(60);

/// The arguments of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct FuzzArguments {
    /// One target; all of them where it is left out
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

/// Runs one target or all.
///
/// # Errors
/// Where cargo-fuzz or a nightly toolchain is missing, or a target finds something.
pub(crate) fn run(arguments: &FuzzArguments) -> Result<()> {
    let mut ask = workspace::cargo(&["fuzz", "--version"]);
    ask.env_remove("RUSTUP_TOOLCHAIN");
    let asked = run_to_end("cargo-fuzz", &mut ask, ASK_TIMEOUT)?;
    if asked.code != 0 {
        bail!(
            "cargo-fuzz is not installed; run `rustup toolchain install nightly` and `cargo install cargo-fuzz`"
        );
    }
    let targets = targets()?;
    let chosen: Vec<&String> = targets
        .iter()
        .filter(|target| arguments.target.as_ref().is_none_or(|one| one == *target))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "no such fuzz target; there are: {}",
        targets.join(", ")
    );
    for target in chosen {
        println!("== {target}, {} s", arguments.seconds);
        let mut fuzz = workspace::command("cargo");
        fuzz.env_remove("RUSTUP_TOOLCHAIN")
            .args(["+nightly", "fuzz", "run", target, "--"])
            .arg(format!("-max_total_time={}", arguments.seconds));
        workspace::execute(fuzz)?;
    }
    Ok(())
}

/// Returns the targets by the files of `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
