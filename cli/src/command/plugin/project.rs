//! The folder that an author works in: its `plugin.toml`, its crate, where its component lies, and the SDK that it is
//! built with.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peerup_model::Failure;
use peerup_package::{MAX_MANIFEST_BYTES, Manifest, ManifestError};

use super::{failed, sdk, usage};

/// The manifest of a plugin.
pub(super) const MANIFEST: &str = "plugin.toml";
/// The target that plugins are built for.
pub(super) const TARGET: &str = "wasm32-wasip2";
/// What tells cargo where the SDK lies, until it is in a registry.
pub(super) const CARGO_CONFIG: &str = ".cargo/config.toml";
/// A script that builds what cargo does not.
pub(super) const BUILD_SCRIPT: &str = "build.sh";
/// Where such a script leaves the component.
const BUILD_FOLDER: &str = "build";

/// Returns the text of the cargo config that finds the SDK in this folder.
pub(super) fn cargo_config(sdk: &Path) -> String {
    let path = toml::Value::from(sdk.to_string_lossy().into_owned());
    format!(
        "# Where the plugin SDK lies on this machine: peerup unpacks it, and `peerup plugin build` writes this file \
         where it is missing.\n[patch.crates-io]\n{} = {{ path = {path} }}\n",
        sdk::CRATE
    )
}

/// Reads the text of a folder's `plugin.toml`.
pub(super) fn manifest_text(folder: &Path) -> Result<String, Failure> {
    let path = folder.join(MANIFEST);
    let text = read(&path, MAX_MANIFEST_BYTES).map_err(|error| {
        failed(format!("{} cannot be read: {error}", path.display()))
            .with_hint("name the folder that has the plugin.toml")
    })?;
    String::from_utf8(text).map_err(|_| failed(format!("{} is not UTF-8 text", path.display())))
}

/// Reads a folder's `plugin.toml`.
pub(super) fn manifest(folder: &Path) -> Result<Manifest, Failure> {
    let text = manifest_text(folder)?;
    Manifest::parse(&text).map_err(|error| manifest_failure(folder, &error))
}

/// Tells the mistakes in a folder's `plugin.toml`.
pub(super) fn manifest_failure(folder: &Path, error: &ManifestError) -> Failure {
    let path = folder.join(MANIFEST).display().to_string();
    usage(error.to_string().replacen(MANIFEST, &path, 1))
}

/// Reads a file of at most so many bytes.
pub(super) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(io::Error::other(format!("it is larger than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// Finds the one component of a folder: a `.wasm` in it, one that its script built, or what cargo built.
pub(super) fn find_component(folder: &Path) -> Result<PathBuf, Failure> {
    if let Some(there) = only_component(folder)? {
        return Ok(there);
    }
    let build = folder.join(BUILD_FOLDER);
    let scripted = folder.join(BUILD_SCRIPT).is_file();
    if scripted
        && build.is_dir()
        && let Some(built) = only_component(&build)?
    {
        return Ok(built);
    }
    let searched = built_by_cargo(folder);
    let built = searched.iter().find(|path| path.is_file());
    built.cloned().ok_or_else(|| {
        let mut places = vec![folder.join("*.wasm")];
        places.extend(scripted.then(|| build.join("*.wasm")));
        places.extend(searched);
        let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        failed(format!("there is no component; looked for {}", places.join(", ")))
            .with_hint(format!("build it: peerup plugin build {}", folder.display()))
    })
}

/// Returns the one `.wasm` right in a folder.
fn only_component(folder: &Path) -> Result<Option<PathBuf>, Failure> {
    let entries = fs::read_dir(folder)
        .map_err(|error| failed(format!("{} cannot be read: {error}", folder.display())))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    found.sort();
    match &found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [first, second, ..] => Err(usage(format!(
            "{} has more than one component: {} and {}",
            folder.display(),
            name_of(first),
            name_of(second)
        ))
        .with_hint("leave the one that is the plugin")),
    }
}

/// Where cargo would have put the component: in the target folder of the crate, or of a workspace around it.
fn built_by_cargo(folder: &Path) -> Vec<PathBuf> {
    let Ok(Some(name)) = Crate::read(folder).map(|found| found.and_then(|found| found.name)) else {
        return Vec::new();
    };
    let file = Path::new(TARGET)
        .join("release")
        .join(format!("{}.wasm", name.replace('-', "_")));
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let around = folder.ancestors().take(3).map(|folder| folder.join("target"));
    chosen
        .into_iter()
        .chain(around)
        .map(|target| target.join(&file))
        .collect()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What matters of a `Cargo.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crate {
    name: Option<String>,
    /// The version of the SDK that it wants, where it takes it from a registry.
    sdk: Option<String>,
}

impl Crate {
    /// Reads the crate in a folder; none where there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = folder.join("Cargo.toml");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(format!("{} cannot be read: {error}", path.display()))),
            Ok(text) => text,
        };
        match Self::parse(&text) {
            Ok(found) => Ok(Some(found)),
            Err(error) => Err(usage(format!(
                "{} is not valid: {}",
                path.display(),
                error.message()
            ))),
        }
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let manifest: toml::Table = text.parse()?;
        let at = |table: &str, key: &str| manifest.get(table)?.get(key).cloned();
        let name = at("package", "name").and_then(|name| name.as_str().map(str::to_owned));
        let sdk = at("dependencies", sdk::CRATE).and_then(|wanted| match wanted {
            toml::Value::String(version) => Some(version),
            toml::Value::Table(table) if !table.contains_key("path") && !table.contains_key("git") => {
                Some(table.get("version")?.as_str()?.to_owned())
            }
            _ => None,
        });
        Ok(Self { name, sdk })
    }

    /// Unpacks the SDK where the crate wants the one that this binary carries, and returns the setting with which cargo
    /// finds it. Writes the cargo config where it is missing, so that cargo alone finds it too.
    pub(super) fn sdk_setting(&self, folder: &Path) -> Result<Option<String>, Failure> {
        let Some(wanted) = &self.sdk else {
            return Ok(None);
        };
        if wanted.trim().trim_start_matches('=').trim() != sdk::VERSION {
            return Err(usage(format!(
                "{} wants {} {wanted}, and this peerup carries {}",
                folder.join("Cargo.toml").display(),
                sdk::CRATE,
                sdk::VERSION
            ))
            .with_hint(format!(
                "write {} = \"={}\", or use the peerup that fits",
                sdk::CRATE,
                sdk::VERSION
            )));
        }
        let place = sdk::ensure()?;
        let config = folder.join(CARGO_CONFIG);
        if !config.exists() {
            let written = fs::create_dir_all(folder.join(".cargo"))
                .and_then(|()| fs::write(&config, cargo_config(&place)));
            written.map_err(|error| failed(format!("{} cannot be written: {error}", config.display())))?;
        }
        let path = toml::Value::from(place.to_string_lossy().into_owned());
        Ok(Some(format!("patch.crates-io.{}.path={path}", sdk::CRATE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sdk: &str) -> Crate {
        let text = format!("[package]\nname = \"x\"\n[dependencies]\npeerup-plugin-sdk = {sdk}\n");
        Crate::parse(&text).unwrap()
    }

    #[test]
    fn only_an_sdk_from_a_registry_is_handed_out() {
        assert_eq!(parsed("\"=1.2.3\"").sdk.as_deref(), Some("=1.2.3"));
        assert_eq!(parsed("{ version = \"1\" }").sdk.as_deref(), Some("1"));
        assert_eq!(parsed("{ path = \"../sdk\" }").sdk, None);
        assert_eq!(parsed("{ git = \"https://x\", version = \"1\" }").sdk, None);
        assert_eq!(
            Crate::parse("[workspace]\n").unwrap(),
            Crate {
                name: None,
                sdk: None
            }
        );
    }

    #[test]
    fn another_version_of_the_sdk_is_told_with_the_line_that_fits() {
        let folder = tempfile::tempdir().unwrap();
        let failure = parsed("\"=99.0.0\"").sdk_setting(folder.path()).unwrap_err();
        assert!(
            failure.message.contains("=99.0.0") && failure.message.contains(sdk::VERSION),
            "{failure}"
        );
        assert!(failure.hint.unwrap().contains(&format!("\"={}\"", sdk::VERSION)));
    }

    #[test]
    fn the_cargo_config_is_valid_whatever_the_folder_is_called() {
        let odd = "/home/a \"b\"\\c/sdk";
        let config: toml::Table = cargo_config(Path::new(odd)).parse().unwrap();
        assert_eq!(
            config["patch"]["crates-io"][sdk::CRATE]["path"].as_str(),
            Some(odd)
        );
    }
}
