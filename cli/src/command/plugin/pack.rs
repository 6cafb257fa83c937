//! `plugin pack` and `plugin keygen`: what an author does.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peerup_model::Failure;
use peerup_package::{AuthorKey, AuthorKeyError, MAX_COMPONENT_BYTES, Package, PackageError};

use super::{failed, project};
use crate::{arguments::PluginPack, context::Context, output};

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
    let text = project::manifest_text(folder)?;
    let component = project::find_component(folder)?;
    let bytes = project::read(&component, MAX_COMPONENT_BYTES)
        .map_err(|error| failed(format!("{} cannot be read: {error}", component.display())))?;
    Package::pack(&bytes, &text, key).map_err(|error| match &error {
        PackageError::Manifest(error) => {
            project::manifest_failure(folder, error).with_hint("correct it and pack again")
        }
        _ => failed(format!("{} cannot be packed: {error}", component.display())).with_hint(format!(
            "build it again: peerup plugin build {}",
            folder.display()
        )),
    })
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
