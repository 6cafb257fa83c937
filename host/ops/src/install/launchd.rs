//! The property list's text, and what is asked of `launchctl`. Pure.

use std::path::{Path, PathBuf};

use super::{
    Scope, Service,
    plan::{Call, Step},
};

/// Where a service of the machine logs, from the root.
pub(super) const LOGS: &str = "usr/local/var/log";
/// Where a user's service logs, from the home.
pub(super) const USER_LOGS: &str = "Library/Logs";
/// Where the property lists of the repository expect programs, configs and logs.
const USUAL_BIN: &str = "/usr/local/bin/";
const USUAL_LOG: &str = "/usr/local/var/log/";

/// Returns the property list for a program, the folder of its config, and the folder of its log.
pub(super) fn plist(service: &Service, program: &Path, folder: &Path, log: &Path) -> String {
    let usual_program = format!("{USUAL_BIN}{}<", service.name);
    let usual_folder = format!("/usr/local/{}/", service.folder);
    service
        .plist
        .replace(&usual_program, &format!("{}<", escape(program)))
        .replace(&usual_folder, &format!("{}/", escape(folder)))
        .replace(USUAL_LOG, &format!("{}/", escape(log)))
}

/// A path as text of XML.
fn escape(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Returns the folder that the log is written to.
pub(super) fn log_folder(scope: &Scope) -> PathBuf {
    match scope {
        Scope::Machine { root, .. } => root.join(LOGS),
        Scope::User(user) => user.home.join(USER_LOGS),
    }
}

/// Returns the domain that the service belongs to: the machine's, or that of the user's session.
pub(super) fn domain(scope: &Scope) -> String {
    match scope {
        Scope::Machine { .. } => "system".to_owned(),
        Scope::User(user) => format!("gui/{}", user.id),
    }
}

/// Returns the service as `launchctl` names it.
pub(super) fn target(scope: &Scope, service: &Service) -> String {
    format!("{}/{}", domain(scope), service.label)
}

/// Asks what launchd knows of the service; fails where it is not loaded.
pub(super) fn print(target: &str) -> Call {
    Call::new("launchctl", &["print", target])
}

/// Whether the service has a process, by what [`print`] says.
pub(super) fn is_running(said: &str) -> bool {
    said.lines().any(|line| line.trim() == "state = running")
}

/// Ends the service and waits for it: `bootout` returns before the process has ended, and `bootstrap` fails until then.
pub(super) fn stop(target: &str) -> Vec<Step> {
    vec![
        Step::Run(Call::new("launchctl", &["bootout", target])),
        Step::AwaitEnd {
            service: target.to_owned(),
            asks: print(target),
        },
    ]
}

/// Starts the service now and with the system. `keeps` says that it is loaded by this very definition.
pub(super) fn start(scope: &Scope, service: &Service, definition: &Path, keeps: bool) -> Vec<Step> {
    let target = target(scope, service);
    let definition = definition.display().to_string();
    let start = match keeps {
        true => Call::new("launchctl", &["kickstart", "-k", &target]),
        false => Call::new("launchctl", &["bootstrap", &domain(scope), &definition]),
    };
    vec![
        // One that was disabled once is refused by `bootstrap`.
        Step::Run(Call::new("launchctl", &["enable", &target])),
        Step::Run(start),
        Step::Say(format!("started {}", service.label)),
    ]
}
