//! The unit's text, and what is asked of `systemctl`. Pure.

use std::path::Path;

use super::{
    Scope, Service,
    plan::{Call, Step},
};

/// The first systemd that knows `Type=notify-reload`.
const NOTIFY_RELOAD: u32 = 253;
const NOTIFY_RELOAD_LINE: &str = "Type=notify-reload\n";
const OLD_RELOAD_LINE: &str = "ExecReload=/bin/kill -HUP $MAINPID\n";
/// Where the units of the repository expect the programs, the second for one user.
const USUAL_BINS: [&str; 2] = ["/usr/local/bin/", "%h/.local/bin/"];
/// Where a user's unit expects the folder of the config. The user's manager need not know the `XDG_CONFIG_HOME` of the
/// shell that installs.
const USUAL_CONFIG: &str = "%E/peerup/config.yaml";

/// Returns the unit for a program, for the folder of a user's config, and for a version of systemd.
pub(super) fn unit(
    service: &Service,
    program: &Path,
    user_folder: Option<&Path>,
    version: Option<u32>,
) -> String {
    let mut unit = service.unit.to_owned();
    for usual in USUAL_BINS {
        let start = format!("ExecStart={usual}{}", service.name);
        unit = unit.replace(&start, &format!("ExecStart={}", word(program)));
    }
    if let Some(folder) = user_folder {
        unit = unit.replace(USUAL_CONFIG, &word(&folder.join("config.yaml")));
    }
    match version {
        Some(version) if version < NOTIFY_RELOAD => unit.replace(NOTIFY_RELOAD_LINE, OLD_RELOAD_LINE),
        _ => unit,
    }
}

/// A path as a word of a unit's command line (systemd.service(5), "Command lines").
fn word(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '\\');
    match text.chars().all(plain) {
        true => text,
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// Returns the call of `systemctl` for the machine's manager or the user's.
pub(super) fn call(scope: &Scope, arguments: &[&str]) -> Call {
    let user: &[&str] = match scope {
        Scope::Machine { .. } => &[],
        Scope::User(_) => &["--user"],
    };
    Call::new("systemctl", &[user, arguments].concat())
}

/// Has the manager read the units again.
pub(super) fn reload(scope: &Scope) -> Step {
    Step::Run(call(scope, &["daemon-reload"]))
}

/// Starts the service now and with the system.
pub(super) fn start(scope: &Scope, service: &Service) -> Vec<Step> {
    let name = unit_name(service);
    vec![
        reload(scope),
        Step::Run(call(scope, &["enable", &name])),
        Step::Run(call(scope, &["restart", &name])),
        Step::Say(format!("started {name}")),
    ]
}

/// Has the service start with the system of the image in `root`.
pub(super) fn enable_in_image(root: &Path, service: &Service) -> Vec<Step> {
    let name = unit_name(service);
    vec![
        Step::Run(in_image(root, "enable", &name)),
        Step::Say(format!("enabled {name}; it starts with that system")),
    ]
}

/// Ends the service and has it start no more.
pub(super) fn stop(scope: &Scope, service: &Service) -> Vec<Step> {
    vec![Step::Run(call(scope, &["disable", "--now", &unit_name(service)]))]
}

/// Has the service start no more with the system of the image in `root`.
pub(super) fn disable_in_image(root: &Path, service: &Service) -> Vec<Step> {
    vec![Step::Run(in_image(root, "disable", &unit_name(service)))]
}

fn in_image(root: &Path, verb: &str, name: &str) -> Call {
    Call::new("systemctl", &[&format!("--root={}", root.display()), verb, name])
}

/// Reads the version from what `systemctl --version` says.
pub(super) fn version(said: &str) -> Option<u32> {
    said.split_whitespace().nth(1)?.parse().ok()
}

/// The unit's file name.
pub(super) fn unit_name(service: &Service) -> String {
    format!("{}.service", service.name)
}
