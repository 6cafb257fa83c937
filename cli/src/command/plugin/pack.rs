//! `plugin pack` and `plugin keygen`: what an author does.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peerup_model::Failure;
use peerup_package::{
    AuthorKey, AuthorKeyError, MAX_COMPONENT_BYTES, MAX_MANIFEST_BYTES, Package, PackageError,
};

use super::{failed, usage};
use crate::{arguments::PluginPack, context::Context, output};

const MANIFEST: &str = "plugin.toml";
/// Where cargo puts what it builds for a plugin, below a target folder.
const BUILT: &str = "wasm32-wasip2/release";

pub(super) fn keygen(context: &Context, file: &Path) -> Result<(), Failure> {
    let key = AuthorKey::create(file).map_err(|error| match &error {
        AuthorKeyError::Exists { .. } => {
            failed(error.to_string()).with_hint("name another file, or sign with this one: --sign FILE")
        }
        _ => failed(error.to_string()).with_hint("check the folder and its rights"),
    })?;
    let id = key.id().to_string();
    if context.json {
        return output::json(&serde_json::json!({ "author": id, "file": file }));
    }
    context.note(&format!(
        "wrote {}; keep it safe: who has it can sign as you. Sign with: peerup plugin pack --sign {}",
        file.display(),
        file.display()
    ));
    output::line(id)
}

pub(super) fn pack(context: &Context, arguments: &PluginPack) -> Result<(), Failure> {
    let key = arguments.sign.as_deref().map(AuthorKey::load).transpose();
    let key = key.map_err(|error| {
        let text = error.to_string();
        match text.split_once("; run: ") {
            Some((what, command)) => failed(what).with_hint(command),
            None => failed(text).with_hint("make a key with: peerup plugin keygen FILE"),
        }
    })?;
    let package = pack_folder(&arguments.dir, key.as_ref())?;
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(package.file_name()));
    write(&out, package.bytes()).map_err(|error| {
        failed(format!("{} cannot be written: {error}", out.display()))
            .with_hint("name another file with --out FILE")
    })?;
    if context.json {
        return output::json(&serde_json::json!({
            "name": package.manifest().name,
            "version": package.manifest().version,
            "contract": package.manifest().contract,
            "digest": package.digest(),
            "author": package.author(),
            "file": out,
            "bytes": package.bytes().len(),
        }));
    }
    if package.author().is_none() {
        context.note("it is not signed; sign it with: peerup plugin pack --sign KEY");
    }
    output::line(format!("{} {}", out.display(), package.digest()))
}

/// Packs the plugin in a folder.
pub(super) fn pack_folder(folder: &Path, key: Option<&AuthorKey>) -> Result<Package, Failure> {
    let manifest = folder.join(MANIFEST);
    let text = read(&manifest, MAX_MANIFEST_BYTES).map_err(|error| {
        failed(format!("{} cannot be read: {error}", manifest.display()))
            .with_hint("name the folder that has the plugin.toml")
    })?;
    let text =
        String::from_utf8(text).map_err(|_| failed(format!("{} is not UTF-8 text", manifest.display())))?;
    let component = find_component(folder)?;
    let bytes = read(&component, MAX_COMPONENT_BYTES)
        .map_err(|error| failed(format!("{} cannot be read: {error}", component.display())))?;
    Package::pack(&bytes, &text, key).map_err(|error| match &error {
        PackageError::Manifest(error) => usage(error.to_string().replacen(
            "plugin.toml",
            &manifest.display().to_string(),
            1,
        ))
        .with_hint("correct it and pack again"),
        _ => failed(format!("{} cannot be packed: {error}", component.display()))
            .with_hint("build it again: cargo build --release --target wasm32-wasip2"),
    })
}

/// Finds the one component of a folder: a `.wasm` in it, else what cargo built.
pub(super) fn find_component(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(folder)
        .map_err(|error| failed(format!("{} cannot be read: {error}", folder.display())))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    found.sort();
    match &found[..] {
        [] => {}
        [one] => return Ok(one.clone()),
        [first, second, ..] => {
            return Err(usage(format!(
                "{} has more than one component: {} and {}",
                folder.display(),
                name_of(first),
                name_of(second)
            ))
            .with_hint("leave the one that is the plugin"));
        }
    }
    let searched = built_by_cargo(folder);
    let built = searched.iter().find(|path| path.is_file());
    built.cloned().ok_or_else(|| {
        let mut places = vec![folder.join("*.wasm")];
        places.extend(searched);
        let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        failed(format!("there is no component; looked for {}", places.join(", ")))
            .with_hint("build it: cargo build --release --target wasm32-wasip2")
    })
}

/// Where cargo would have put the component: in the target folder of the crate, or of a workspace around it.
fn built_by_cargo(folder: &Path) -> Vec<PathBuf> {
    let Some(name) = crate_name(folder) else {
        return Vec::new();
    };
    let file = Path::new(BUILT).join(format!("{}.wasm", name.replace('-', "_")));
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let around = folder.ancestors().take(3).map(|folder| folder.join("target"));
    chosen
        .into_iter()
        .chain(around)
        .map(|target| target.join(&file))
        .collect()
}

/// The name of the crate in a folder, by the first `name =` of its Cargo.toml.
fn crate_name(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let line = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then_some(value)
    })?;
    Some(line.trim().trim_matches('"').to_owned())
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
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

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
