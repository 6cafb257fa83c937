//! Granted directories: checked when a plugin is loaded, opened for each instance.
//!
//! Where a grant leads is settled when it is given. Whoever may write beside a granted folder could put a link in its
//! place, and lead another plugin elsewhere.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use peerup_model::{DirectoryAccess, DirectoryGrant, Grants};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// Where each granted path led when it was granted.
pub(crate) type Pins = BTreeMap<String, PathBuf>;

/// Returns where the granted directories lead, or why one of them cannot be had. `forbidden`: the daemon's own files and
/// folders.
pub(crate) fn check(grants: &Grants, forbidden: &[PathBuf]) -> Result<Pins, String> {
    let mut pins = Pins::new();
    for (index, grant) in grants.directories.iter().enumerate() {
        let path = real(grant)?;
        if let Some(reason) = self::forbidden(grant.path(), &path, forbidden) {
            return Err(reason);
        }
        for (other, outer) in grants.directories.iter().enumerate() {
            // Whoever may write there can put a link in the place of this one.
            if other != index && outer.access() == DirectoryAccess::Write && inside(&path, &real(outer)?) {
                return Err(format!(
                    "the directory {} lies in {}, which is granted `rw`: grant that one alone, or make it `ro`",
                    grant.path(),
                    outer.path()
                ));
            }
        }
        let others = grants.directories.iter().take(index);
        if others.into_iter().any(|other| other.guest() == grant.guest()) {
            return Err(format!(
                "two directories are granted as {}; give one of them another name with `as:`",
                grant.guest()
            ));
        }
        pins.insert(grant.path().to_owned(), path);
    }
    Ok(pins)
}

/// Returns why a granted path that leads to a folder cannot be had beside the daemon's own files, where it cannot.
pub(crate) fn forbidden(granted: &str, leads: &Path, forbidden: &[PathBuf]) -> Option<String> {
    let own = forbidden.iter().find(|own| touches(leads, own))?;
    Some(format!(
        "the directory {granted} cannot be granted: it holds, or lies in, {}, where the daemon keeps its own files; \
         grant another folder",
        own.display()
    ))
}

/// Opens the granted directories for one instance, each where it led when it was granted.
pub(crate) fn open(
    grants: &Grants,
    pins: &Pins,
    forbidden: &[PathBuf],
    wasi: &mut WasiCtxBuilder,
) -> Result<(), String> {
    let now = check(grants, forbidden)?;
    for grant in &grants.directories {
        let (led, leads) = (pins.get(grant.path()), now.get(grant.path()));
        let Some(folder) = leads.filter(|_| led == leads) else {
            return Err(format!(
                "the granted directory {} leads elsewhere than when it was granted: look at what put a link there, then reload \
                 the plugin",
                grant.path()
            ));
        };
        let perms = match grant.access() {
            DirectoryAccess::Read => FsPerms::ReadOnly,
            DirectoryAccess::Write => FsPerms::ReadWrite,
        };
        let opened = wasi.preopened_dir(folder, grant.guest(), perms);
        opened.map_err(|error| {
            format!(
                "the granted directory {} cannot be opened: {error:#}; make it readable for the daemon",
                grant.path()
            )
        })?;
    }
    Ok(())
}

/// The folder that the grant names, links followed: what is checked is what is opened.
fn real(grant: &DirectoryGrant) -> Result<PathBuf, String> {
    let path = Path::new(grant.path());
    let real = path.canonicalize().map_err(|error| {
        format!(
            "the granted directory {} cannot be opened: {error}; make it, or take it out of the grants",
            grant.path()
        )
    })?;
    if !real.is_dir() {
        return Err(format!("the granted directory {} is no directory", grant.path()));
    }
    // A link may lead to what no grant may name.
    let Some(text) = real.to_str() else {
        return Err(format!(
            "the granted directory {} leads to a path that is no text",
            grant.path()
        ));
    };
    DirectoryGrant::new(text, None, grant.access())
        .map_err(|error| format!("the granted directory {} leads to {text}: {error}", grant.path()))?;
    Ok(real)
}

/// Whether a folder lies below another one.
fn inside(path: &Path, outer: &Path) -> bool {
    path != outer && path.starts_with(outer)
}

/// Whether one of two paths lies in the other.
fn touches(path: &Path, own: &Path) -> bool {
    let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
    own.starts_with(path) || path.starts_with(&own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(folders: &[(&Path, DirectoryAccess)]) -> Grants {
        let directory = |(path, access): &(&Path, DirectoryAccess)| {
            DirectoryGrant::new(path.to_str().unwrap(), None, *access).unwrap()
        };
        Grants {
            directories: folders.iter().map(directory).collect(),
            ..Grants::default()
        }
    }

    #[test]
    fn a_folder_inside_one_that_may_be_written_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let (read, write) = (DirectoryAccess::Read, DirectoryAccess::Write);
        for order in [
            [(root.path(), write), (&*inner, read)],
            [(&*inner, read), (root.path(), write)],
        ] {
            let refused = check(&grants(&order), &[]).unwrap_err();
            assert!(refused.contains("inner lies in"), "{refused}");
        }
        check(&grants(&[(root.path(), read), (&*inner, write)]), &[]).unwrap();
    }
}
