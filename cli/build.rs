//! Gathers the plugin SDK and the contract, so that the binary can hand them to authors: `plugin new` unpacks them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use toml::{Table, Value};

/// Folders of the repository that are taken whole.
const FOLDERS: [&str; 3] = ["plugin-sdk/src", "wit/0.1.1", "wit/deps"];
const MANIFEST: &str = "plugin-sdk/Cargo.toml";
/// The workspace that the SDK is a member of here, and leaves when it is unpacked.
const WORKSPACE: &str = "plugins/Cargo.toml";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = here.parent().ok_or("no repository around this crate")?;
    println!("cargo::rerun-if-changed=build.rs");
    for watched in FOLDERS.iter().chain(&[MANIFEST, WORKSPACE]) {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }

    let (manifest, version) = standalone(root)?;
    let mut code = format!("pub(super) const VERSION: &str = {version:?};\n");
    code.push_str("pub(super) const FILES: &[(&str, &[u8])] = &[\n");
    code.push_str(&format!("    ({MANIFEST:?}, {manifest:?}.as_bytes()),\n"));
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    for file in files {
        let name = file.strip_prefix(root).map_err(|error| error.to_string())?;
        code.push_str(&format!("    ({name:?}, include_bytes!({file:?})),\n"));
    }
    code.push_str("];\n");
    let out = Path::new(&variable("OUT_DIR")?).join("sdk_files.rs");
    fs::write(&out, code).map_err(|error| format!("{}: {error}", out.display()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// Returns the SDK's manifest with what it takes from its workspace written out, and its version.
fn standalone(root: &Path) -> Result<(String, String), String> {
    let mut manifest = read(&root.join(MANIFEST))?;
    let workspace = read(&root.join(WORKSPACE))?;
    let of_workspace = |part: &str, key: &str| {
        let part = workspace.get("workspace")?.get(part)?;
        part.get(key).cloned()
    };
    for part in ["package", "dependencies"] {
        let table = manifest.get_mut(part).and_then(Value::as_table_mut);
        for (key, value) in table.into_iter().flatten() {
            if value.get("workspace").and_then(Value::as_bool) == Some(true) {
                *value = of_workspace(part, key).ok_or_else(|| format!("{WORKSPACE} has no {part}.{key}"))?;
            }
        }
    }
    // Lints are for those who change it.
    manifest.remove("lints");
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        package.remove("workspace");
    }
    let version = manifest
        .get("package")
        .and_then(|package| package.get("version")?.as_str());
    let version = version.ok_or("the SDK has no version")?.to_owned();
    Ok((manifest.to_string(), version))
}

fn read(path: &Path) -> Result<Table, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.parse()
        .map_err(|error| format!("{}: {error}", path.display()))
}
