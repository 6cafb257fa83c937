//! Runs a command of the operator's with a message on its standard input.
//!
//! No shell. It has an environment of its own, a process group of its own and a time limit; at the limit, and when the
//! daemon ends, the whole group is killed.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use peerup_api::AlertMessage;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, Command},
};

use super::deliver::Outcome;

/// Variables of the daemon that a command gets.
const KEPT: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "USER"];
/// What is kept of what it says on standard error, in bytes.
const MAX_WORDS: usize = 512;
/// How long after its end its last words may come.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Makes one attempt. Whatever it comes to is not tried again: it may have done its work.
pub(super) async fn run(
    config: &Path,
    words: &[String],
    timeout: Duration,
    target: &str,
    message: &AlertMessage,
) -> Outcome {
    if let Err(why) = is_operators_own(config) {
        return Outcome::Refused(why);
    }
    match tokio::time::timeout(timeout, carry_out(words, target, message)).await {
        Ok(Ok((status, _))) if status.success() => Outcome::Delivered(status.to_string()),
        Ok(Ok((status, said))) if said.is_empty() => Outcome::Refused(status.to_string()),
        Ok(Ok((status, said))) => Outcome::Refused(format!("{status}: {said}")),
        Ok(Err(error)) => {
            let program = words.first().map(String::as_str).unwrap_or_default();
            Outcome::Refused(format!("{program} cannot be run: {error}"))
        }
        Err(_) => Outcome::Refused(format!(
            "it took longer than {timeout:?} and was killed with its children; alerts.targets.{target}.timeout allows more"
        )),
    }
}

/// Refuses where somebody else could have written the command.
fn is_operators_own(config: &Path) -> Result<(), String> {
    let shown = config.display();
    let found = std::fs::metadata(config).map_err(|error| format!("{shown}: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    match (found.uid() == own || found.uid() == 0, found.mode() & 0o022) {
        (true, 0) => Ok(()),
        _ => Err(format!(
            "others can write {shown}, so its commands are not run; run: chmod go-w {shown}, and let it belong to the \
             daemon's user or to root"
        )),
    }
}

async fn carry_out(
    words: &[String],
    target: &str,
    message: &AlertMessage,
) -> io::Result<(ExitStatus, String)> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(
            KEPT.iter()
                .filter_map(|name| Some((*name, std::env::var_os(name)?))),
        )
        .envs(variables(target, message))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut group = Group(command.spawn()?);
    let mut body = serde_json::to_vec(message).unwrap_or_default();
    body.push(b'\n');
    let (stdin, stderr) = (group.0.stdin.take(), group.0.stderr.take());
    let mut said = Vec::new();
    let status = {
        let ended = async {
            if let Some(mut stdin) = stdin {
                // One that does not read it has closed it; how it ends tells whether that was right.
                let _ = stdin.write_all(&body).await;
            }
            group.0.wait().await
        };
        let listening = listen(stderr, &mut said);
        tokio::pin!(ended, listening);
        let (mut status, mut silent) = (None, false);
        while status.is_none() {
            tokio::select! {
                biased;
                () = &mut listening, if !silent => silent = true,
                ending = &mut ended => status = Some(ending?),
            }
        }
        if !silent {
            // What it leaves running may keep its standard error open; its own end is what counts.
            let _ = tokio::time::timeout(LAST_WORDS, listening).await;
        }
        status.ok_or(io::ErrorKind::Interrupted)?
    };
    Ok((status, one_line(&said)))
}

/// Keeps the first of what it says; the rest is read as well, so that it is not held up.
async fn listen(stderr: Option<ChildStderr>, said: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let room = MAX_WORDS.saturating_sub(said.len());
        said.extend(buffer.iter().take(count.min(room)));
    }
}

fn variables<'a>(target: &'a str, message: &'a AlertMessage) -> [(&'static str, &'a str); 8] {
    [
        ("PEERUP_ALERT_TARGET", target),
        ("PEERUP_ALERT_RULE", &message.rule),
        ("PEERUP_ALERT_WHEN", &message.when),
        ("PEERUP_ALERT_STATE", &message.state),
        ("PEERUP_ALERT_SINCE", &message.since),
        ("PEERUP_ALERT_SUBJECT", &message.subject),
        ("PEERUP_ALERT_MESSAGE", &message.message),
        (
            "PEERUP_ALERT_NODE",
            message.node.name.as_deref().unwrap_or(&message.node.peer_id),
        ),
    ]
}

fn one_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A process with its children. They are killed where it is dropped before it has ended.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for: then the number may be another process's.
        let pid = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // Fails where it has just ended.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::alerts::deliver::tests::message;

    fn config() -> tempfile::NamedTempFile {
        tempfile::NamedTempFile::new().unwrap()
    }

    fn shell(script: &str, argument: &Path) -> Vec<String> {
        let argument = argument.display().to_string();
        ["/bin/sh", "-c", script, "sh", &argument]
            .map(str::to_owned)
            .to_vec()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn it_gets_the_message_as_json_and_in_its_environment_and_nothing_else_of_the_daemons() {
        let (config, folder) = (config(), tempfile::tempdir().unwrap());
        let script = "cat >\"$1/body\"; env >\"$1/env\"";
        let words = shell(script, folder.path());
        let outcome = run(config.path(), &words, HOUR, "pager", &message("firing")).await;
        assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
        let body = std::fs::read_to_string(folder.path().join("body")).unwrap();
        assert_eq!(
            serde_json::from_str::<AlertMessage>(&body).unwrap(),
            message("firing")
        );
        let env = std::fs::read_to_string(folder.path().join("env")).unwrap();
        assert!(env.contains("PEERUP_ALERT_RULE=home-away\n"), "{env}");
        assert!(env.contains("PEERUP_ALERT_STATE=firing\n"), "{env}");
        assert!(!env.contains("CARGO_MANIFEST_DIR"), "{env}");
    }

    #[tokio::test]
    async fn how_it_ends_is_told_with_what_it_said() {
        let (config, folder) = (config(), tempfile::tempdir().unwrap());
        let words = shell("echo no pager here >&2; exit 3", folder.path());
        let outcome = run(config.path(), &words, HOUR, "pager", &message("firing")).await;
        let Outcome::Refused(why) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(why.contains('3') && why.contains("no pager here"), "{why}");
        let words = vec!["/no/such/program".to_owned()];
        let outcome = run(config.path(), &words, HOUR, "pager", &message("firing")).await;
        assert!(
            matches!(&outcome, Outcome::Refused(why) if why.contains("/no/such/program")),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let (config, folder) = (config(), tempfile::tempdir().unwrap());
        let script = "sleep 1000 & echo $! >\"$1/child\"; mkfifo \"$1/never\"; read x <\"$1/never\"";
        let words = shell(script, folder.path());
        let limit = Duration::from_secs(5);
        let outcome = run(config.path(), &words, limit, "pager", &message("firing")).await;
        assert!(
            matches!(&outcome, Outcome::Refused(why) if why.contains("killed")),
            "{outcome:?}"
        );
        let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        // A zombie that nobody has waited for yet is as good as gone.
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let gone = async {
            while lives() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone)
            .await
            .expect("it lives on");
    }

    #[tokio::test]
    async fn a_command_of_a_file_that_others_can_write_is_not_run() {
        let (config, folder) = (config(), tempfile::tempdir().unwrap());
        std::fs::set_permissions(config.path(), std::fs::Permissions::from_mode(0o620)).unwrap();
        let words = shell("echo x >\"$1/ran\"", folder.path());
        let outcome = run(config.path(), &words, HOUR, "pager", &message("firing")).await;
        assert!(
            matches!(&outcome, Outcome::Refused(why) if why.contains("chmod go-w")),
            "{outcome:?}"
        );
        assert!(!folder.path().join("ran").exists());
    }
}
