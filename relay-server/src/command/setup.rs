//! `setup`: the relay as a service of systemd or launchd.

use std::path::Path;

use peerup_config::load_relay;
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{Finding, Installer, Manager, Scope, Service};

use super::{init, tell};
use crate::arguments::{InitArguments, SetupArguments};
use crate::server::check;

const SERVICE: Service = Service {
    name: "relay-server",
    unit: include_str!("../../../packaging/systemd/relay-server.service"),
    label: "org.peerup.relay-server",
    plist: include_str!("../../../packaging/launchd/org.peerup.relay-server.plist"),
    user: "peerup-relay",
    folder: "etc/peerup-relay",
};

/// Installs, checks or uninstalls.
pub(super) fn setup(arguments: &SetupArguments) -> Result<(), Failure> {
    let installer = Installer {
        manager: Manager::of_this_system(),
        scope: Scope::Machine {
            root: arguments.root.clone(),
            prefix: arguments.prefix.clone(),
        },
    };
    if arguments.check {
        return look(&installer);
    }
    let done = match arguments.uninstall {
        true => installer.uninstall(&SERVICE),
        false => installer.install(&SERVICE, |folder| make_config(folder, arguments)),
    };
    for line in done? {
        tell(&line);
    }
    Ok(())
}

fn make_config(folder: &Path, arguments: &SetupArguments) -> Result<Option<String>, Failure> {
    let config = folder.join("relay-server.yaml");
    if config.exists() {
        return Ok(None);
    }
    init::init(&InitArguments {
        dir: folder.to_owned(),
        listen: Vec::new(),
        external: arguments.external.clone(),
    })?;
    Ok(Some(format!("made {}", config.display())))
}

fn look(installer: &Installer) -> Result<(), Failure> {
    let mut findings = installer.check(&SERVICE);
    let config = installer.folder(&SERVICE).join("relay-server.yaml");
    let shown = config.display().to_string();
    let checked = load_relay(&config).map_err(|error| error.to_string());
    findings.push(
        match checked.and_then(|loaded| check(&loaded.config).map_err(|error| error.to_string())) {
            Ok(_) => Finding::holds(shown),
            Err(error) => Finding::fails(shown, error),
        },
    );
    for finding in &findings {
        tell(&match &finding.problem {
            None => format!("[ok]   {}", finding.what),
            Some(problem) => format!("[FAIL] {}: {problem}", finding.what),
        });
    }
    match findings.iter().any(|finding| finding.problem.is_some()) {
        false => Ok(()),
        true => Err(Failure::new(ErrorCode::CheckFailed, "not everything is in place")
            .with_hint("mend what is marked, or run `relay-server setup` as root")),
    }
}
