//! Which files a service consists of, and what is done to install it and to take it away, in which order. Pure: what has
//! to be known of the machine comes in as [`Facts`].

use std::path::{Path, PathBuf};

use super::{Installer, Manager, Scope, Service, User, launchd, systemd};

const SYSCTL_CONF: &str = include_str!("../../../../packaging/sysctl/60-peerup.conf");
const SYSCTL_PATH: &str = "etc/sysctl.d/60-peerup.conf";

/// What is known of the machine before anything is done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// The version of systemd, where there is one.
    pub(super) systemd: Option<u32>,
    /// Whether launchd has the service loaded.
    pub(super) loaded: bool,
    /// Whether the service's definition on disk is the one that would be written.
    pub(super) same_definition: bool,
    /// Whether the service's definition is on disk.
    pub(super) has_definition: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Copies this program there, unless it lies there.
    Program(PathBuf),
    /// Makes a user of the system with that home, unless there is one.
    Account { user: &'static str, home: String },
    /// Makes a folder that is closed to others.
    PrivateFolder(PathBuf),
    /// Makes a folder.
    Folder(PathBuf),
    /// Has the caller make a config in the folder, unless there is one.
    Config(PathBuf),
    /// Writes a file.
    Write { path: PathBuf, content: String },
    /// Writes a file where there is none, and runs a program then.
    WriteFresh {
        path: PathBuf,
        content: &'static str,
        then: Option<Call>,
    },
    /// Removes a file, if it is there.
    Remove(PathBuf),
    /// Runs a program of the system.
    Run(Call),
    /// Waits until a program fails, which it does once the service that it asks for is gone.
    AwaitEnd { service: String, asks: Call },
    /// Tells what is done by then.
    Say(String),
}

/// A program of the system with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<String>,
}

impl Call {
    pub(super) fn new(program: &'static str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program, arguments }
    }
}

/// The files of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The program.
    pub(super) binary: PathBuf,
    /// The unit, or the property list.
    pub(super) definition: PathBuf,
    /// What stands in it.
    pub(super) text: String,
    /// The folder with config and key.
    pub(super) folder: PathBuf,
}

impl Layout {
    /// Returns where everything lies.
    pub(super) fn new(installer: &Installer, service: &Service, facts: Facts) -> Self {
        match &installer.scope {
            Scope::Machine { root, prefix } => {
                Self::of_machine(installer.manager, root, prefix, service, facts)
            }
            Scope::User(user) => Self::of_user(installer.manager, user, service, facts),
        }
    }

    fn of_machine(manager: Manager, root: &Path, prefix: &Path, service: &Service, facts: Facts) -> Self {
        let bin = Path::new("/").join(prefix).join("bin");
        let at = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let program = bin.join(service.name);
        let (definition, text, folder) = match manager {
            Manager::Systemd => (
                format!("etc/systemd/system/{}.service", service.name),
                systemd::unit(service, &program, None, facts.systemd),
                service.folder.to_owned(),
            ),
            Manager::Launchd => {
                let folder = format!("usr/local/{}", service.folder);
                let log = Path::new("/").join(launchd::LOGS);
                (
                    format!("Library/LaunchDaemons/{}.plist", service.label),
                    launchd::plist(service, &program, &Path::new("/").join(&folder), &log),
                    folder,
                )
            }
        };
        Self {
            binary: at(&program),
            definition: root.join(definition),
            text,
            folder: root.join(folder),
        }
    }

    fn of_user(manager: Manager, user: &User, service: &Service, facts: Facts) -> Self {
        let binary = user.home.join(".local/bin").join(service.name);
        let (definition, text) = match manager {
            Manager::Systemd => (
                format!(".config/systemd/user/{}.service", service.name),
                systemd::unit(service, &binary, Some(&user.folder), facts.systemd),
            ),
            Manager::Launchd => (
                format!("Library/LaunchAgents/{}.plist", service.label),
                launchd::plist(
                    service,
                    &binary,
                    &user.folder,
                    &user.home.join(launchd::USER_LOGS),
                ),
            ),
        };
        Self {
            binary,
            definition: user.home.join(definition),
            text,
            folder: user.folder.clone(),
        }
    }
}

/// Returns what is done to install, in order.
pub(super) fn install(installer: &Installer, service: &Service, layout: &Layout, facts: Facts) -> Vec<Step> {
    let mut steps = vec![Step::Program(layout.binary.clone())];
    let own_user = installer.makes_user();
    if own_user {
        steps.push(Step::Account {
            user: service.user,
            home: format!("/{}", service.folder),
        });
    }
    steps.push(Step::PrivateFolder(layout.folder.clone()));
    steps.push(Step::Config(layout.folder.clone()));
    if own_user {
        let owner = format!("{0}:{0}", service.user);
        let folder = layout.folder.display().to_string();
        steps.push(Step::Run(Call::new("chown", &["-R", &owner, &folder])));
    }
    if let (Manager::Systemd, Scope::Machine { root, .. }) = (installer.manager, &installer.scope) {
        let path = root.join(SYSCTL_PATH);
        let load = Call::new("sysctl", &["-q", "-p", &path.display().to_string()]);
        steps.push(Step::WriteFresh {
            path,
            content: SYSCTL_CONF,
            then: installer.image().is_none().then_some(load),
        });
    }
    if installer.manager == Manager::Launchd {
        steps.push(Step::Folder(launchd::log_folder(&installer.scope)));
    }
    // What is loaded by another definition ends before that one is gone from the disk.
    if installer.manager == Manager::Launchd && facts.loaded && !facts.same_definition {
        steps.extend(launchd::stop(&launchd::target(&installer.scope, service)));
    }
    steps.push(Step::Write {
        path: layout.definition.clone(),
        content: layout.text.clone(),
    });
    steps.extend(start(installer, service, layout, facts));
    steps
}

fn start(installer: &Installer, service: &Service, layout: &Layout, facts: Facts) -> Vec<Step> {
    match (installer.manager, installer.image()) {
        (Manager::Systemd, None) => systemd::start(&installer.scope, service),
        (Manager::Systemd, Some(root)) => systemd::enable_in_image(root, service),
        (Manager::Launchd, None) => {
            let keeps = facts.loaded && facts.same_definition;
            launchd::start(&installer.scope, service, &layout.definition, keeps)
        }
        (Manager::Launchd, Some(_)) => {
            vec![Step::Say(format!("{} starts with that system", service.label))]
        }
    }
}

/// Returns what is done to take the service away, in order. Config, key, user and buffers stay.
pub(super) fn uninstall(
    installer: &Installer,
    service: &Service,
    layout: &Layout,
    facts: Facts,
) -> Vec<Step> {
    let mut steps = match (installer.manager, installer.image()) {
        (Manager::Systemd, None) if facts.has_definition => systemd::stop(&installer.scope, service),
        (Manager::Systemd, Some(root)) if facts.has_definition => systemd::disable_in_image(root, service),
        (Manager::Launchd, None) if facts.loaded => {
            launchd::stop(&launchd::target(&installer.scope, service))
        }
        _ => Vec::new(),
    };
    steps.push(Step::Remove(layout.definition.clone()));
    if installer.manager == Manager::Systemd && facts.has_definition && installer.image().is_none() {
        steps.push(systemd::reload(&installer.scope));
    }
    steps.push(Step::Remove(layout.binary.clone()));
    steps.push(Step::Say(format!(
        "{} stays: config and key are in it",
        layout.folder.display()
    )));
    steps
}
