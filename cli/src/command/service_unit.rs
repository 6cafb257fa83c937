//! `daemon install` and `daemon uninstall`: the daemon as a service of systemd.

use std::path::Path;

use peerup_model::{ErrorCode, Failure};
use peerup_ops::{Finding, InstallError, Installer, Service};

use super::init;
use crate::{
    arguments::{DaemonInstall, DaemonPlace},
    context::Context,
};

const SERVICE: Service = Service {
    name: "peerup",
    unit: include_str!("../../../packaging/systemd/peerup.service"),
    user: "peerup",
    folder: "etc/peerup",
};

/// A failure of either kind.
struct Refused(Failure);

impl From<InstallError> for Refused {
    fn from(error: InstallError) -> Self {
        let failure = Failure::new(ErrorCode::Failed, error.to_string());
        Self(failure.with_hint("run it as root; a second run goes on where this one stopped"))
    }
}

/// Installs the service, or looks whether it is well installed.
pub(super) fn install(context: &Context, arguments: &DaemonInstall) -> Result<(), Failure> {
    let installer = installer(&arguments.place);
    if arguments.check {
        return look(context, &installer);
    }
    let done = installer.install(&SERVICE, make_config);
    for line in done.map_err(|refused: Refused| refused.0)? {
        context.note(&line);
    }
    Ok(())
}

/// Takes the service away.
pub(super) fn uninstall(context: &Context, place: &DaemonPlace) -> Result<(), Failure> {
    let done = installer(place).uninstall(&SERVICE).map_err(Refused::from);
    for line in done.map_err(|refused| refused.0)? {
        context.note(&line);
    }
    Ok(())
}

fn installer(place: &DaemonPlace) -> Installer {
    Installer {
        root: place.root.clone(),
        prefix: place.prefix.clone(),
    }
}

fn make_config(folder: &Path) -> Result<Option<String>, Refused> {
    let config = folder.join("config.yaml");
    if config.exists() {
        return Ok(None);
    }
    init::make(&config, None, None, Vec::new()).map_err(Refused)?;
    Ok(Some(format!(
        "made {}; add a relay: peerup relay add ADDR --config {}",
        config.display(),
        config.display()
    )))
}

fn look(context: &Context, installer: &Installer) -> Result<(), Failure> {
    let mut findings = installer.check(&SERVICE);
    let config = installer.root.join(SERVICE.folder).join("config.yaml");
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
    match findings.iter().any(|finding| finding.problem.is_some()) {
        false => Ok(()),
        true => Err(Failure::new(ErrorCode::CheckFailed, "not everything is in place")
            .with_hint("mend what is marked, or run as root: peerup daemon install")),
    }
}
