//! `cargo xtask tidy`: the rules about structure that the compiler does not know.
//!
//! Fails on an edge between crates that the table does not have, on a cycle between the modules of a
//! crate, on a file without its opening comment. Lists long files and functions for a second look.

mod edges;
mod modules;
mod sizes;
mod source;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::workspace;

pub(crate) use source::SourceFile;

/// Words that must not stand in code, comments or documents.
const FORBIDDEN_WORDS: [&str; 0] = [];

/// Folders that hold no sources of ours.
const SKIPPED_FOLDERS: [&str; 4] = ["target", ".git", "node_modules", "artifacts"];

/// Checks the whole repository.
///
/// # Errors
/// Lists everything that breaks a rule.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let mut files = Vec::new();
    collect(&root, &root, &mut files)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));

    let mut complaints = edges::check(&root)?;
    complaints.extend(modules::check(&files));
    complaints.extend(headers(&files));
    complaints.extend(words(&files));
    sizes::report(&files);

    if complaints.is_empty() {
        println!("tidy: {} files, nothing to complain about", files.len());
        return Ok(());
    }
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    bail!("{} complaints", complaints.len())
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if !SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped) {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.push(SourceFile::new(relative, text));
        }
    }
    Ok(())
}

fn headers(files: &[SourceFile]) -> Vec<String> {
    let bare = files.iter().filter(|file| !file.text.starts_with("//!"));
    bare.map(|file| format!("{} does not open with //!", file.path.display()))
        .collect()
}

fn words(files: &[SourceFile]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for word in FORBIDDEN_WORDS {
            if file.text.contains(word) {
                found.push(format!("{} mentions {word:?}", file.path.display()));
            }
        }
    }
    found
}
