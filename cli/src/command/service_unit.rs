//! `daemon install` and `daemon uninstall`: the daemon as a service of systemd or launchd, of the machine or of one user.

use std::path::Path;

use peerup_config::Loaded;
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{Finding, Installer, Manager, Scope, Service, User};

use super::{init, usage};
use crate::{
    arguments::{DaemonInstall, DaemonPlace},
    context::Context,
};

const SERVICE: Service = Service {
    name: "peerup",
    unit: include_str!("../../../packaging/systemd/peerup.service"),
    label: "org.peerup.daemon",
    plist: include_str!("../../../packaging/launchd/org.peerup.daemon.plist"),
    user: "peerup",
    folder: "etc/peerup",
};
const USER_SERVICE: Service = Service {
    unit: include_str!("../../../packaging/systemd/user/peerup.service"),
    ..SERVICE
};

/// The service, and where it belongs.
struct Target {
    service: Service,
    installer: Installer,
    install: &'static str,
}

/// Installs the service, or looks whether it is well installed.
pub(super) fn install(context: &Context, arguments: &DaemonInstall) -> Result<(), Failure> {
    let target = target(&arguments.place)?;
    if arguments.check {
        return look(context, &target);
    }
    for line in target.installer.install(&target.service, make_config)? {
        context.note(&line);
    }
    for step in next_steps(&target) {
        context.note(&format!("next: {step}"));
    }
    Ok(())
}

/// Takes the service away.
pub(super) fn uninstall(context: &Context, place: &DaemonPlace) -> Result<(), Failure> {
    let target = target(place)?;
    for line in target.installer.uninstall(&target.service)? {
        context.note(&line);
    }
    Ok(())
}

fn target(place: &DaemonPlace) -> Result<Target, Failure> {
    let manager = Manager::of_this_system();
    if !place.user {
        let (root, prefix) = (place.root.clone(), place.prefix.clone());
        return Ok(Target {
            service: SERVICE,
            installer: Installer {
                manager,
                scope: Scope::Machine { root, prefix },
            },
            install: "sudo peerup daemon install",
        });
    }
    let id = rustix::process::geteuid();
    if id.is_root() {
        return Err(usage("--user is for a user's own daemon, and this is root")
            .with_hint("run it as that user, without sudo; for the whole machine: peerup daemon install"));
    }
    let places = Context::places();
    let no_home =
        || usage("HOME is not set, so there is nowhere to install to").with_hint("set HOME to your home");
    let home = places
        .home
        .clone()
        .filter(|home| home.is_absolute())
        .ok_or_else(no_home)?;
    let folder = places.user_folder().ok_or_else(no_home)?;
    let id = id.as_raw();
    Ok(Target {
        service: USER_SERVICE,
        installer: Installer {
            manager,
            scope: Scope::User(User { id, home, folder }),
        },
        install: "peerup daemon install --user",
    })
}

fn make_config(folder: &Path) -> Result<Option<String>, Failure> {
    let config = folder.join("config.yaml");
    if config.exists() {
        return Ok(None);
    }
    init::make(&config, None, None, Vec::new())?;
    Ok(Some(format!("made {}", config.display())))
}

/// What the operator has to do that the service can be of use.
fn next_steps(target: &Target) -> Vec<String> {
    let config = target.installer.folder(&target.service).join("config.yaml");
    // A user's own config is found without being named.
    let named = match target.installer.scope {
        Scope::Machine { .. } => format!(" --config {}", config.display()),
        Scope::User(_) => String::new(),
    };
    let mut steps = Vec::from_iter(target.installer.session_note());
    let loaded = peerup_config::load_node(&config);
    if loaded.is_ok_and(|Loaded { config, .. }| config.relays.is_empty()) {
        steps.push(format!("add a relay: peerup relay add ADDR{named}"));
    }
    // In an image that is being built there is no daemon to pair with.
    let in_image = matches!(&target.installer.scope, Scope::Machine { root, .. } if root != Path::new("/"));
    if !in_image {
        steps.push(format!("pair with another machine: peerup invite{named}"));
    }
    steps
}

fn look(context: &Context, target: &Target) -> Result<(), Failure> {
    let mut findings = target.installer.check(&target.service);
    let config = target.installer.folder(&target.service).join("config.yaml");
    let shown = config.display().to_string();
    findings.push(match peerup_config::load_node(&config) {
        Ok(_) => Finding::holds(shown),
        Err(error) => Finding::fails(shown, error.to_string()),
    });
    for finding in &findings {
        context.note(&match &finding.problem {
            None => format!("[ok]   {}", finding.what),
            Some(problem) => format!("[FAIL] {}: {problem}", finding.what),
        });
    }
    if let Some(note) = target.installer.session_note() {
        context.note(&format!("next: {note}"));
    }
    match findings.iter().any(|finding| finding.problem.is_some()) {
        false => Ok(()),
        true => Err(
            Failure::new(ErrorCode::CheckFailed, "not everything is in place").with_hint(format!(
                "mend what is marked, or install it again: {}",
                target.install
            )),
        ),
    }
}
