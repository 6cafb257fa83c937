//! Puts a program in place as a service of systemd or launchd, of the machine or of one user: binary, user, folder, unit,
//! UDP buffers; looks whether all of that holds; takes it away again.
//!
//! What is to be done is a list, which `plan` makes of what is known of the machine; [`Installer`] carries it out. A root
//! other than `/` is an image that is being built: files go there, nothing is started, and no user is made.

mod launchd;
mod plan;
mod system;
mod systemd;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use peerup_model::{ErrorCode, Failure};
use plan::{Call, Facts, Layout, Step};
use system::{System, ThisMachine};

/// How many seconds a service of launchd has to end: its `ExitTimeOut`, and some for launchd itself.
const END_TRIES: u32 = 75;

/// A program that runs as a service.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// The program, and the unit without `.service`.
    pub name: &'static str,
    /// The unit's text.
    pub unit: &'static str,
    /// What launchd calls it, and its property list without `.plist`.
    pub label: &'static str,
    /// The property list's text.
    pub plist: &'static str,
    /// The user that it runs as, where it is one of the machine and the manager is systemd.
    pub user: &'static str,
    /// Its folder, with config and key, from the root; on macOS from `/usr/local`.
    pub folder: &'static str,
}

/// What starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
}

impl Manager {
    /// Returns the one of the system that this is built for.
    pub const fn of_this_system() -> Self {
        match cfg!(target_os = "macos") {
            true => Self::Launchd,
            false => Self::Systemd,
        }
    }
}

/// Whose service it is.
#[derive(Debug, Clone)]
pub enum Scope {
    /// The machine's.
    Machine {
        /// The root of the system.
        root: PathBuf,
        /// The folder with `bin`, from the root.
        prefix: PathBuf,
    },
    /// One user's.
    User(User),
}

/// A user with a service of their own.
#[derive(Debug, Clone)]
pub struct User {
    /// The number.
    pub id: u32,
    /// The home.
    pub home: PathBuf,
    /// The folder with config and key.
    pub folder: PathBuf,
}

/// Where to install, and for what.
#[derive(Debug, Clone)]
pub struct Installer {
    /// What is to start it.
    pub manager: Manager,
    /// Whose it is.
    pub scope: Scope,
}

/// Why an installation did not come about.
#[derive(Debug, thiserror::Error)]
enum InstallError {
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
    /// A service that was told to end still runs.
    #[error("{service} does not end")]
    DoesNotEnd {
        /// As its manager calls it.
        service: String,
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

impl Installer {
    /// Installs, and returns what was done, a line each. `make_config` gets the folder, and makes a config in it where
    /// there is none.
    ///
    /// # Errors
    /// A file cannot be written, or a program of the system fails. What was done until then stays; a second run goes on.
    pub fn install(
        &self,
        service: &Service,
        make_config: impl FnMut(&Path) -> Result<Option<String>, Failure>,
    ) -> Result<Vec<String>, Failure> {
        self.install_on(&mut ThisMachine, service, make_config)
    }

    /// Ends the service and takes its unit and program away. Config, key, user and buffers stay.
    ///
    /// # Errors
    /// As [`Installer::install`].
    pub fn uninstall(&self, service: &Service) -> Result<Vec<String>, Failure> {
        self.uninstall_on(&mut ThisMachine, service)
    }

    /// Looks whether everything is in place.
    pub fn check(&self, service: &Service) -> Vec<Finding> {
        self.check_on(&mut ThisMachine, service)
    }

    /// Returns the folder with config and key.
    pub fn folder(&self, service: &Service) -> PathBuf {
        Layout::new(self, service, Facts::default()).folder
    }

    /// Says what a user's service needs to run while nobody is logged in, where it does not do so yet.
    pub fn session_note(&self) -> Option<String> {
        self.session_note_on(&mut ThisMachine)
    }

    fn session_note_on(&self, system: &mut dyn System) -> Option<String> {
        let Scope::User(user) = &self.scope else {
            return None;
        };
        match self.manager {
            Manager::Systemd => {
                let id = user.id.to_string();
                let asked = run(system, &Call::new("loginctl", &["show-user", &id, "--property=Linger", "--value"]));
                // A user who is not logged in and does not linger is unknown to loginctl.
                if asked.is_ok_and(|said| said.trim() == "yes") {
                    return None;
                }
                let name = run(system, &Call::new("id", &["-un", &id])).map(|name| name.trim().to_owned());
                Some(format!(
                    "it ends with your last session, as lingering is off; to have it run without one: loginctl enable-linger {}",
                    name.unwrap_or(id)
                ))
            }
            Manager::Launchd => Some(
                "it runs while you are logged in at the screen; for one that always runs: sudo peerup daemon install".to_owned(),
            ),
        }
    }

    fn refused(&self, error: &InstallError) -> Failure {
        Failure::new(ErrorCode::Failed, error.to_string()).with_hint(self.next_step(error))
    }

    fn next_step(&self, error: &InstallError) -> String {
        let again = "a second run goes on where this one stopped";
        match (error, &self.scope) {
            (InstallError::File { path, source, .. }, Scope::Machine { root, prefix })
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                let prefix = root.join(prefix.strip_prefix("/").unwrap_or(prefix));
                match path.starts_with(prefix) {
                    true => "name a folder on a file system that can be written to: --prefix DIR".to_owned(),
                    false => format!(
                        "mount the file system of {} so that it can be written to; {again}",
                        path.display()
                    ),
                }
            }
            (InstallError::File { source, .. }, Scope::User(_))
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                format!("the home has to be on a file system that can be written to; {again}")
            }
            (InstallError::Command { .. }, Scope::User(_)) if self.manager == Manager::Systemd => format!(
                "log in as that user itself, as su and sudo start no manager for it, or keep one running: \
                 loginctl enable-linger; {again}"
            ),
            (InstallError::Command { .. }, Scope::User(_)) => {
                format!(
                    "log in as that user at the screen: a user's services belong to that session; {again}"
                )
            }
            (InstallError::DoesNotEnd { service }, _) => {
                format!("look what it does: launchctl print {service}; {again}")
            }
            (_, Scope::User(_)) => format!("see who owns that file or folder; {again}"),
            (_, Scope::Machine { .. }) => format!("run it as root; {again}"),
        }
    }

    fn install_on(
        &self,
        system: &mut dyn System,
        service: &Service,
        mut make_config: impl FnMut(&Path) -> Result<Option<String>, Failure>,
    ) -> Result<Vec<String>, Failure> {
        let (layout, facts) = self.look(system, service);
        let mut done = Vec::new();
        for step in plan::install(self, service, &layout, facts) {
            match step {
                Step::Config(folder) => done.extend(make_config(&folder)?),
                step => done.extend(carry_out(system, step).map_err(|error| self.refused(&error))?),
            }
        }
        Ok(done)
    }

    fn uninstall_on(&self, system: &mut dyn System, service: &Service) -> Result<Vec<String>, Failure> {
        let (layout, facts) = self.look(system, service);
        let mut done = Vec::new();
        for step in plan::uninstall(self, service, &layout, facts) {
            done.extend(carry_out(system, step).map_err(|error| self.refused(&error))?);
        }
        Ok(done)
    }

    fn check_on(&self, system: &mut dyn System, service: &Service) -> Vec<Finding> {
        let (layout, _) = self.look(system, service);
        let mut findings = look_at_files(&layout);
        if self.image().is_some() {
            return findings;
        }
        if self.makes_user() {
            let user = format!("user {}", service.user);
            findings.push(match run(system, &Call::new("id", &["-u", service.user])) {
                Ok(_) => Finding::holds(user),
                Err(_) => Finding::fails(user, format!("there is none; {AGAIN}")),
            });
        }
        findings.push(self.look_at_process(system, service));
        findings
    }

    fn look_at_process(&self, system: &mut dyn System, service: &Service) -> Finding {
        match self.manager {
            Manager::Systemd => {
                let name = systemd::unit_name(service);
                let user = match self.scope {
                    Scope::Machine { .. } => "",
                    Scope::User(_) => " --user",
                };
                match run(system, &systemd::call(&self.scope, &["is-active", &name])) {
                    Ok(_) => Finding::holds(format!("{name} is active")),
                    Err(_) => Finding::fails(
                        format!("{name} is active"),
                        format!("it is not; see: systemctl{user} status {name}, journalctl{user} -u {name}"),
                    ),
                }
            }
            Manager::Launchd => {
                let target = launchd::target(&self.scope, service);
                let asked = run(system, &launchd::print(&target));
                match asked.is_ok_and(|said| launchd::is_running(&said)) {
                    true => Finding::holds(format!("{target} runs")),
                    false => Finding::fails(
                        format!("{target} runs"),
                        format!(
                            "it does not; see: launchctl print {target}, and its log in {}",
                            launchd::log_folder(&self.scope).display()
                        ),
                    ),
                }
            }
        }
    }

    /// Looks at the machine, changing nothing.
    fn look(&self, system: &mut dyn System, service: &Service) -> (Layout, Facts) {
        let mut facts = Facts::default();
        match self.manager {
            Manager::Systemd => {
                let version = run(system, &Call::new("systemctl", &["--version"]));
                facts.systemd = version.ok().and_then(|text| systemd::version(&text));
            }
            Manager::Launchd if self.image().is_none() => {
                let target = launchd::target(&self.scope, service);
                facts.loaded = run(system, &launchd::print(&target)).is_ok();
            }
            Manager::Launchd => {}
        }
        let layout = Layout::new(self, service, facts);
        facts.has_definition = layout.definition.exists();
        facts.same_definition = fs::read_to_string(&layout.definition).is_ok_and(|text| text == layout.text);
        (layout, facts)
    }

    /// The root of the image that is being built; none where this machine is meant.
    fn image(&self) -> Option<&Path> {
        match &self.scope {
            Scope::Machine { root, .. } if root != Path::new("/") => Some(root),
            _ => None,
        }
    }

    /// Whether the service has a user of the system to itself.
    fn makes_user(&self) -> bool {
        let of_machine = matches!(self.scope, Scope::Machine { .. });
        of_machine && self.manager == Manager::Systemd && self.image().is_none()
    }
}

const AGAIN: &str = "install it again";

fn look_at_files(layout: &Layout) -> Vec<Finding> {
    let binary = text(&layout.binary);
    let binary = match fs::metadata(&layout.binary) {
        Ok(found) if found.permissions().mode() & 0o111 != 0 => Finding::holds(binary),
        Ok(_) => Finding::fails(binary, "it is not executable; chmod 755 it"),
        Err(error) => Finding::fails(binary, format!("{error}; {AGAIN}")),
    };
    let definition = text(&layout.definition);
    let definition = match fs::read_to_string(&layout.definition) {
        Ok(found) if found == layout.text => Finding::holds(definition),
        Ok(_) => Finding::fails(
            definition,
            format!(
                "it is not the one of this release; {AGAIN}, and with systemd keep changes in a drop-in (systemctl edit)"
            ),
        ),
        Err(error) => Finding::fails(definition, format!("{error}; {AGAIN}")),
    };
    let folder = text(&layout.folder);
    let folder = match fs::metadata(&layout.folder) {
        Ok(found) if found.permissions().mode() & 0o077 == 0 => Finding::holds(folder),
        Ok(_) => Finding::fails(folder, "other users may look into it; chmod 700 it"),
        Err(error) => Finding::fails(folder, format!("{error}; {AGAIN}")),
    };
    vec![binary, definition, folder]
}

/// Carries out a step, and says what it came to where that is worth a line.
fn carry_out(system: &mut dyn System, step: Step) -> Result<Option<String>, InstallError> {
    Ok(match step {
        Step::Program(binary) => {
            system::copy_program(&binary)?.then(|| format!("installed {}", binary.display()))
        }
        Step::Account { user, home } => make_account(system, user, &home)?,
        Step::PrivateFolder(folder) => {
            system::make_private_folder(&folder)?;
            None
        }
        Step::Folder(folder) => {
            system::make_folder(&folder)?;
            None
        }
        // The caller's own; see `install_on`.
        Step::Config(_) => None,
        Step::Write { path, content } => {
            system::write(&path, &content)?;
            Some(format!("wrote {}", path.display()))
        }
        Step::WriteFresh { path, content, then } => {
            if path.exists() {
                return Ok(None);
            }
            system::write(&path, content)?;
            if let Some(call) = then {
                run(system, &call)?;
            }
            Some(format!("wrote {}", path.display()))
        }
        Step::Remove(path) => system::remove(&path)?.then(|| format!("removed {}", path.display())),
        Step::Run(call) => {
            run(system, &call)?;
            None
        }
        Step::AwaitEnd { service, asks } => {
            await_end(system, service, &asks)?;
            None
        }
        Step::Say(line) => Some(line),
    })
}

fn make_account(system: &mut dyn System, user: &str, home: &str) -> Result<Option<String>, InstallError> {
    if run(system, &Call::new("id", &["-u", user])).is_ok() {
        return Ok(None);
    }
    let arguments = ["--system", "--user-group", "--no-create-home", "--home-dir", home];
    let rest = ["--shell", "/usr/sbin/nologin", user];
    run(
        system,
        &Call::new("useradd", &[arguments.as_slice(), &rest].concat()),
    )?;
    Ok(Some(format!("made the user {user}")))
}

fn await_end(system: &mut dyn System, service: String, asks: &Call) -> Result<(), InstallError> {
    for _ in 0..END_TRIES {
        if run(system, asks).is_err() {
            return Ok(());
        }
        system.pause();
    }
    Err(InstallError::DoesNotEnd { service })
}

fn run(system: &mut dyn System, call: &Call) -> Result<String, InstallError> {
    system.run(call.program, &call.arguments)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
