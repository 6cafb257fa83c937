//! The daemon as a service of one user, whose manager lingers.

use anyhow::{Result, ensure};
use peerup_testkit::{Finished, poll};

use super::{
    super::stage::{SOON, Stage},
    machine::{BINARIES, Machine},
};

const NAME: &str = "ada";
const HOME: &str = "/home/ada";
/// The machine's `/etc` is empty, and without a file of PAM's no user gets a manager.
const PAM: &str = "mkdir -p /etc/pam.d && printf '%s\\n' 'account required pam_permit.so' \
    'session required pam_permit.so' 'session optional pam_systemd.so' > /etc/pam.d/systemd-user";

/// A user of the machine.
struct User<'a> {
    machine: &'a Machine,
    id: String,
}

/// Installs, checks and uninstalls the daemon of a user.
pub(super) fn lives(stage: &Stage, machine: &Machine) -> Result<()> {
    machine.run(&["useradd", "--create-home", "--user-group", NAME])?;
    machine.run(&["sh", "-c", PAM])?;
    let id = machine.run(&["id", "-u", NAME])?.trim().to_owned();
    let user = User { machine, id };
    let peerup = format!("{BINARIES}/peerup");

    let refused = user.finish(&[&peerup, "daemon", "install", "--user"])?;
    ensure!(
        refused.code == 1 && refused.stderr.contains("loginctl enable-linger"),
        "nothing runs for {NAME}, and the next step is not named: {refused:?}"
    );
    machine.run(&["loginctl", "enable-linger", NAME])?;
    poll("the user's manager", SOON, || {
        let asked = user.finish(&["systemctl", "--user", "is-active", "basic.target"])?;
        Ok((asked.code == 0).then_some(()))
    })?;
    let done = user.finish(&[&peerup, "daemon", "install", "--user"])?;
    ensure!(done.code == 0, "installing for {NAME} fails: {done:?}");
    ensure!(!done.stderr.contains("lingering"), "{NAME} lingers: {done:?}");

    let program = format!("{HOME}/.local/bin/peerup");
    user.run(&[&program, "daemon", "install", "--check", "--user"])?;
    user.run(&[&program, "status"])?;
    user.run(&["systemctl", "--user", "reload", "peerup"])?;
    let shown = user.run(&["systemctl", "--user", "--no-pager", "status", "peerup"])?;
    let status = "Status: \"connected to 0 peers";
    ensure!(
        shown.contains(status),
        "systemctl shows no {status}...\":\n{shown}"
    );

    user.run(&[&program, "daemon", "uninstall", "--user"])?;
    let definition = format!("{HOME}/.config/systemd/user/peerup.service");
    for gone in [program, definition] {
        ensure!(
            user.finish(&["test", "-e", &gone])?.code == 1,
            "{gone} is still there"
        );
    }
    for stays in ["config.yaml", "identity.key"] {
        user.run(&["test", "-s", &format!("{HOME}/.config/peerup/{stays}")])?;
    }
    stage.note("a user without root has a daemon of their own, and takes it away again");
    Ok(())
}

impl User<'_> {
    /// Runs a command as the user, in the machine, to its end.
    fn finish(&self, command: &[&str]) -> Result<Finished> {
        let (user, group) = (format!("--reuid={}", self.id), format!("--regid={}", self.id));
        let (home, runtime) = (
            format!("HOME={HOME}"),
            format!("XDG_RUNTIME_DIR=/run/user/{}", self.id),
        );
        let before = ["setpriv", &user, &group, "--clear-groups", "env", &home, &runtime];
        self.machine.finish(&[before.as_slice(), command].concat())
    }

    /// Runs a command that has to end with 0, and returns what it printed.
    fn run(&self, command: &[&str]) -> Result<String> {
        self.finish(command)?.success()
    }
}
