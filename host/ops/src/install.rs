//! Puts a program in place as a service of systemd: binary, user, folder, unit, UDP buffers; looks whether all of that
//! holds; takes it away again.
//!
//! What is to be done is a list, made without looking at the machine; [`Installer`] carries it out. A root other than
//! `/` is an image that is being built: files go there, nothing is started, and no user is made.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The first systemd that knows `Type=notify-reload`.
const NOTIFY_RELOAD: u32 = 253;
const NOTIFY_RELOAD_LINE: &str = "Type=notify-reload\n";
const OLD_RELOAD_LINE: &str = "ExecReload=/bin/kill -HUP $MAINPID\n";
/// Where the units of the repository expect the programs.
const USUAL_BIN: &str = "/usr/local/bin/";
const SYSCTL_CONF: &str = include_str!("../../../packaging/sysctl/60-peerup.conf");
const SYSCTL_PATH: &str = "etc/sysctl.d/60-peerup.conf";

/// A program that runs as a service.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// The program, and the unit without `.service`.
    pub name: &'static str,
    /// The unit's text.
    pub unit: &'static str,
    /// The user that it runs as.
    pub user: &'static str,
    /// Its folder, with config and key, from the root.
    pub folder: &'static str,
}

/// Where to install.
#[derive(Debug, Clone)]
pub struct Installer {
    /// The root of the system.
    pub root: PathBuf,
    /// The folder with `bin`, from the root.
    pub prefix: PathBuf,
}

/// Why an installation did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A file or folder cannot be made.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {why}")]
    Command {
        /// With its arguments.
        command: String,
        /// What it said, or why it could not be started.
        why: String,
    },
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What is wrong with it; none where it holds.
    pub problem: Option<String>,
}

impl Finding {
    /// Something that holds.
    pub fn holds(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            problem: None,
        }
    }

    /// Something that does not.
    pub fn fails(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            problem: Some(problem.into()),
        }
    }
}

impl Service {
    /// Returns the unit for a prefix and a version of systemd.
    fn unit_for(&self, prefix: &Path, systemd: Option<u32>) -> String {
        let bin = format!("{}/", prefix.join("bin").display());
        let unit = self.unit.replace(USUAL_BIN, &bin);
        match systemd {
            Some(version) if version < NOTIFY_RELOAD => unit.replace(NOTIFY_RELOAD_LINE, OLD_RELOAD_LINE),
            _ => unit,
        }
    }
}

impl Installer {
    /// Installs, and returns what was done, a line each. `make_config` gets the folder, and makes a config in it where
    /// there is none.
    ///
    /// # Errors
    /// A file cannot be written, or a program of the system fails. What was done until then stays; a second run goes on.
    pub fn install<E: From<InstallError>>(
        &self,
        service: &Service,
        make_config: impl FnOnce(&Path) -> Result<Option<String>, E>,
    ) -> Result<Vec<String>, E> {
        let mut done = Vec::new();
        self.install_binary(service, &mut done)?;
        if self.is_live() {
            self.make_user(service, &mut done)?;
        }
        let folder = self.at(service.folder);
        make_folder(&folder)?;
        done.extend(make_config(&folder)?);
        if self.is_live() {
            run(
                "chown",
                &["-R", &format!("{0}:{0}", service.user), &text(&folder)],
            )?;
        }
        let sysctl = self.at(SYSCTL_PATH);
        if !sysctl.exists() {
            write(&sysctl, SYSCTL_CONF)?;
            done.push(format!("wrote {}", sysctl.display()));
            if self.is_live() {
                run("sysctl", &["-q", "-p", &text(&sysctl)])?;
            }
        }
        let unit = self.unit_path(service);
        write(&unit, &service.unit_for(&self.prefix, systemd_version()))?;
        done.push(format!("wrote {}", unit.display()));
        self.enable(service, &mut done)?;
        Ok(done)
    }

    /// Ends the service and takes its unit and program away. Config, key, user and buffers stay.
    ///
    /// # Errors
    /// As [`Installer::install`].
    pub fn uninstall(&self, service: &Service) -> Result<Vec<String>, InstallError> {
        let unit = self.unit_path(service);
        let mut done = Vec::new();
        if unit.exists() {
            let name = format!("{}.service", service.name);
            match self.is_live() {
                true => run("systemctl", &["disable", "--now", &name])?,
                false => run("systemctl", &[&self.root_flag(), "disable", &name])?,
            };
            remove(&unit)?;
            done.push(format!("removed {}", unit.display()));
            if self.is_live() {
                run("systemctl", &["daemon-reload"])?;
            }
        }
        let binary = self.binary(service);
        if binary.exists() {
            remove(&binary)?;
            done.push(format!("removed {}", binary.display()));
        }
        done.push(format!(
            "{} stays: config and key are in it",
            self.at(service.folder).display()
        ));
        Ok(done)
    }

    /// Looks whether everything is in place.
    pub fn check(&self, service: &Service) -> Vec<Finding> {
        let again = "install it again";
        let mut findings = Vec::new();
        let binary = self.binary(service);
        findings.push(match fs::metadata(&binary) {
            Ok(found) if found.permissions().mode() & 0o111 != 0 => Finding::holds(text(&binary)),
            Ok(_) => Finding::fails(text(&binary), "it is not executable; chmod 755 it"),
            Err(error) => Finding::fails(text(&binary), format!("{error}; {again}")),
        });
        let unit = self.unit_path(service);
        let wanted = service.unit_for(&self.prefix, systemd_version());
        findings.push(match fs::read_to_string(&unit) {
            Ok(found) if found == wanted => Finding::holds(text(&unit)),
            Ok(_) => Finding::fails(
                text(&unit),
                format!("it is not the one of this release; {again}, and keep changes in a drop-in (systemctl edit)"),
            ),
            Err(error) => Finding::fails(text(&unit), format!("{error}; {again}")),
        });
        let folder = self.at(service.folder);
        findings.push(match fs::metadata(&folder) {
            Ok(found) if found.permissions().mode() & 0o077 == 0 => Finding::holds(text(&folder)),
            Ok(_) => Finding::fails(text(&folder), "other users may look into it; chmod 700 it"),
            Err(error) => Finding::fails(text(&folder), format!("{error}; {again}")),
        });
        if self.is_live() {
            findings.push(match run("id", &["-u", service.user]) {
                Ok(_) => Finding::holds(format!("user {}", service.user)),
                Err(_) => Finding::fails(
                    format!("user {}", service.user),
                    format!("there is none; {again}"),
                ),
            });
            let name = format!("{}.service", service.name);
            findings.push(match run("systemctl", &["is-active", &name]) {
                Ok(_) => Finding::holds(format!("{name} is active")),
                Err(_) => Finding::fails(
                    format!("{name} is active"),
                    format!("it is not; see: systemctl status {name}, journalctl -u {name}"),
                ),
            });
        }
        findings
    }

    fn install_binary(&self, service: &Service, done: &mut Vec<String>) -> Result<(), InstallError> {
        let binary = self.binary(service);
        let own =
            std::env::current_exe().map_err(|source| failed("find", Path::new(service.name), source))?;
        if fs::canonicalize(&binary).ok() == fs::canonicalize(&own).ok() {
            return Ok(());
        }
        if let Some(folder) = binary.parent() {
            fs::create_dir_all(folder).map_err(|source| failed("make", folder, source))?;
        }
        // Beside it first: a program that runs cannot be written to, and half of one must never be there.
        let fresh = binary.with_extension("new");
        fs::copy(&own, &fresh).map_err(|source| failed("copy the program to", &fresh, source))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&fresh, mode).map_err(|source| failed("set the mode of", &fresh, source))?;
        fs::rename(&fresh, &binary).map_err(|source| failed("put in place", &binary, source))?;
        done.push(format!("installed {}", binary.display()));
        Ok(())
    }

    fn make_user(&self, service: &Service, done: &mut Vec<String>) -> Result<(), InstallError> {
        if run("id", &["-u", service.user]).is_ok() {
            return Ok(());
        }
        let home = format!("/{}", service.folder);
        let arguments = ["--system", "--user-group", "--no-create-home", "--home-dir"];
        let rest = [home.as_str(), "--shell", "/usr/sbin/nologin", service.user];
        run("useradd", &[arguments.as_slice(), rest.as_slice()].concat())?;
        done.push(format!("made the user {}", service.user));
        Ok(())
    }

    fn enable(&self, service: &Service, done: &mut Vec<String>) -> Result<(), InstallError> {
        let name = format!("{}.service", service.name);
        if self.is_live() {
            run("systemctl", &["daemon-reload"])?;
            run("systemctl", &["enable", &name])?;
            run("systemctl", &["restart", &name])?;
            done.push(format!("started {name}"));
        } else {
            run("systemctl", &[&self.root_flag(), "enable", &name])?;
            done.push(format!("enabled {name}; it starts with that system"));
        }
        Ok(())
    }

    fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    fn root_flag(&self) -> String {
        format!("--root={}", self.root.display())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn binary(&self, service: &Service) -> PathBuf {
        let prefix = self.prefix.strip_prefix("/").unwrap_or(&self.prefix);
        self.root.join(prefix).join("bin").join(service.name)
    }

    fn unit_path(&self, service: &Service) -> PathBuf {
        self.at(&format!("etc/systemd/system/{}.service", service.name))
    }
}

fn make_folder(folder: &Path) -> Result<(), InstallError> {
    fs::create_dir_all(folder).map_err(|source| failed("make", folder, source))?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(folder, mode).map_err(|source| failed("set the mode of", folder, source))
}

fn write(path: &Path, content: &str) -> Result<(), InstallError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| failed("make", folder, source))?;
    }
    fs::write(path, content).map_err(|source| failed("write", path, source))
}

fn remove(path: &Path) -> Result<(), InstallError> {
    fs::remove_file(path).map_err(|source| failed("remove", path, source))
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> InstallError {
    InstallError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a program of the system to its end, and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> Result<String, InstallError> {
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

/// The version of the systemd here; none where there is none.
fn systemd_version() -> Option<u32> {
    let text = run("systemctl", &["--version"]).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Service = Service {
        name: "relay-server",
        unit: include_str!("../../../packaging/systemd/relay-server.service"),
        user: "peerup-relay",
        folder: "etc/peerup-relay",
    };

    #[test]
    fn a_unit_follows_the_prefix_and_the_version_of_systemd() {
        let new = SERVICE.unit_for(Path::new("/opt/peerup"), Some(257));
        assert!(new.contains("ExecStart=/opt/peerup/bin/relay-server serve"));
        assert!(new.contains(NOTIFY_RELOAD_LINE) && !new.contains("ExecReload"));
        let old = SERVICE.unit_for(Path::new("/usr/local"), Some(252));
        assert!(old.contains(OLD_RELOAD_LINE) && !old.contains(NOTIFY_RELOAD_LINE));
        assert_eq!(SERVICE.unit_for(Path::new("/usr/local"), None), SERVICE.unit);
    }
}
