//! What an installation does to the machine: programs of the system, and files. Decides nothing.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::InstallError;

/// How long to wait between two looks at a service that is ending.
const PAUSE: Duration = Duration::from_secs(1);

/// The programs of the system, which a test stands in for.
pub(super) trait System {
    /// Runs a program to its end, and returns what it printed.
    fn run(&mut self, program: &str, arguments: &[String]) -> Result<String, InstallError>;

    /// Lets a second pass.
    fn pause(&mut self);
}

/// The machine that this runs on.
pub(super) struct ThisMachine;

impl System for ThisMachine {
    fn run(&mut self, program: &str, arguments: &[String]) -> Result<String, InstallError> {
        let failed = |why: String| InstallError::Command {
            command: format!("{program} {}", arguments.join(" ")),
            why,
        };
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "launchctl returns before a service has ended and sends no event when it has"
    )]
    fn pause(&mut self) {
        std::thread::sleep(PAUSE);
    }
}

/// Copies this program there, unless it is what lies there. Returns whether it did.
pub(super) fn copy_program(binary: &Path) -> Result<bool, InstallError> {
    let own = std::env::current_exe().map_err(|source| failed("find this program for", binary, source))?;
    if fs::canonicalize(binary).ok() == fs::canonicalize(&own).ok() {
        return Ok(false);
    }
    if let Some(folder) = binary.parent() {
        make_folder(folder)?;
    }
    // Beside it first: a program that runs cannot be written to, and half of one must never be there.
    let fresh = binary.with_extension("new");
    fs::copy(&own, &fresh).map_err(|source| failed("copy the program to", &fresh, source))?;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&fresh, mode).map_err(|source| failed("set the mode of", &fresh, source))?;
    fs::rename(&fresh, binary).map_err(|source| failed("put in place", binary, source))?;
    Ok(true)
}

/// Makes a folder.
pub(super) fn make_folder(folder: &Path) -> Result<(), InstallError> {
    fs::create_dir_all(folder).map_err(|source| failed("make", folder, source))
}

/// Makes a folder that is closed to other users.
pub(super) fn make_private_folder(folder: &Path) -> Result<(), InstallError> {
    make_folder(folder)?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(folder, mode).map_err(|source| failed("set the mode of", folder, source))
}

/// Writes a file, and makes its folder.
pub(super) fn write(path: &Path, content: &str) -> Result<(), InstallError> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::write(path, content).map_err(|source| failed("write", path, source))
}

/// Removes a file. Returns whether there was one.
pub(super) fn remove(path: &Path) -> Result<bool, InstallError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("remove", path, source)),
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> InstallError {
    InstallError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}
