//! Child processes: started in a group of their own, their output kept line by line so that one can
//! wait for a line, ended with SIGTERM and then SIGKILL at the latest when dropped.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{interrupted, poll, wait::pause};

/// Lines kept for each process; a chatty daemon must not fill the memory of the one who watches it.
const KEPT_LINES: usize = 20_000;

/// How long a dropped process has for an orderly end before it is killed.
const GRACE: Duration = Duration::from_secs(6);

/// How long the pipes may stay open after the process has gone, held by its own children.
const PIPE_GRACE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    Out,
    Err,
}

/// Where everything that processes say is kept, if anybody wants it.
static LOGS: OnceLock<PathBuf> = OnceLock::new();

/// Has all that processes started from now on say written to files of this folder, one for each process, numbered in
/// the order of their starts. Works once.
///
/// # Errors
/// Where the folder cannot be created.
pub fn keep_logs(folder: PathBuf) -> Result<()> {
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // A second folder would be a mistake of the caller; the first one stays.
    let _ = LOGS.set(folder);
    Ok(())
}

/// Whether the logs are kept, so that it is worth to have much in them.
pub fn keeps_logs() -> bool {
    LOGS.get().is_some()
}

/// Opens the log file of the next process, if logs are kept.
fn log_file(name: &str) -> Result<Option<File>> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let Some(folder) = LOGS.get() else { return Ok(None) };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(60)
        .collect();
    let path = folder.join(format!("{number:05}-{name}.log"));
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(Some(file))
}

#[derive(Default)]
struct Output {
    log: Option<File>,
    lines: Vec<(Channel, String)>,
    dropped: usize,
    open_pipes: usize,
}

#[derive(Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a process that has ended left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; 128 plus the signal where one ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Returns standard output where the exit code is 0.
    ///
    /// # Errors
    /// The code and the last lines of both outputs otherwise.
    pub fn success(self) -> Result<String> {
        if self.code == 0 {
            return Ok(self.stdout);
        }
        bail!(
            "exit code {}\n{}",
            self.code,
            last_lines(&format!("{}{}", self.stdout, self.stderr), 30)
        )
    }
}

/// A child process, ended when dropped.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    shared: Arc<Shared>,
}

impl Process {
    /// Starts a command with piped outputs and no input. `name` stands in errors and log tails.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        Self::start(name, command.stdin(Stdio::null()))
    }

    /// Starts a command whose input stays open for [`Process::write`].
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn spawn_with_input(name: &str, command: &mut Command) -> Result<Self> {
        Self::start(name, command.stdin(Stdio::piped()))
    }

    /// Starts a command with something of the caller's as its input.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn spawn_with(name: &str, command: &mut Command, input: Stdio) -> Result<Self> {
        Self::start(name, command.stdin(input))
    }

    fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        let shared = Arc::new(Shared::default());
        {
            let mut output = shared.lock();
            output.open_pipes = 2;
            output.log = log_file(name)?;
        }
        if let Some(pipe) = child.stdout.take() {
            collect(Channel::Out, pipe, Arc::clone(&shared));
        }
        if let Some(pipe) = child.stderr.take() {
            collect(Channel::Err, pipe, Arc::clone(&shared));
        }
        Ok(Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            shared,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its input and flushes.
    ///
    /// # Errors
    /// Where the process has closed its input or was started without one.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("started without input")?;
        stdin.write_all(bytes)?;
        stdin.flush()?;
        Ok(())
    }

    /// Ends its input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for the first line, of either output and from its start on, that `matches` accepts.
    ///
    /// # Errors
    /// With the last lines seen: when the process ends first, after `timeout`, or when interrupted.
    pub fn wait_for_line(
        &mut self,
        what: &str,
        timeout: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut seen = 0;
        loop {
            let ended = self.child.try_wait()?;
            let mut output = self.shared.lock();
            let first = seen.max(output.dropped) - output.dropped;
            if let Some((_, line)) = output.lines.iter().skip(first).find(|(_, line)| matches(line)) {
                return Ok(line.clone());
            }
            seen = output.dropped + output.lines.len();
            let drained = output.open_pipes == 0;
            if let Some(status) = ended.filter(|_| drained) {
                drop(output);
                bail!(
                    "{} ended with {status} before {what}\n{}",
                    self.name,
                    self.tail(30)
                );
            }
            if interrupted() || Instant::now() >= deadline {
                drop(output);
                bail!("{}: no {what} within {timeout:?}\n{}", self.name, self.tail(30));
            }
            let waited = self
                .shared
                .changed
                .wait_timeout(output, Duration::from_millis(50));
            output = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
            drop(output);
        }
    }

    /// Returns its exit status where it has ended.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end; it is killed after `timeout`.
    ///
    /// # Errors
    /// After `timeout`, with the last lines seen.
    pub fn finish(&mut self, timeout: Duration) -> Result<Finished> {
        let name = self.name.clone();
        let child = &mut self.child;
        let status = poll(&format!("the end of {name}"), timeout, || Ok(child.try_wait()?));
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                self.signal("KILL");
                return Err(error.context(self.tail(30)));
            }
        };
        self.drain();
        Ok(Finished {
            code: code(status),
            stdout: self.text(Channel::Out),
            stderr: self.text(Channel::Err),
        })
    }

    /// Sends SIGTERM and waits for the end; returns it with the time it took.
    ///
    /// # Errors
    /// When it still runs after `timeout`; it is killed then.
    pub fn terminate(&mut self, timeout: Duration) -> Result<(Finished, Duration)> {
        let start = Instant::now();
        self.signal("TERM");
        let finished = self.finish(timeout)?;
        Ok((finished, start.elapsed()))
    }

    /// Sends SIGINT, as Ctrl-C does, and waits for the end.
    ///
    /// # Errors
    /// When it still runs after `timeout`; it is killed then.
    pub fn interrupt(&mut self, timeout: Duration) -> Result<Finished> {
        self.signal("INT");
        self.finish(timeout)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// Where the system does not say that it ended.
    pub fn kill(&mut self) -> Result<()> {
        self.signal("KILL");
        self.child.wait()?;
        Ok(())
    }

    /// Returns its last lines, each with the name in front.
    pub fn tail(&self, count: usize) -> String {
        let output = self.shared.lock();
        let first = output.lines.len().saturating_sub(count);
        let lines = output.lines.iter().skip(first);
        lines
            .map(|(_, line)| format!("  {} | {line}\n", self.name))
            .collect()
    }

    /// Returns what came on standard output so far.
    pub fn stdout(&self) -> String {
        self.text(Channel::Out)
    }

    fn text(&self, channel: Channel) -> String {
        let output = self.shared.lock();
        let lines = output.lines.iter().filter(|(from, _)| *from == channel);
        lines.map(|(_, line)| format!("{line}\n")).collect()
    }

    fn drain(&self) {
        let deadline = Instant::now() + PIPE_GRACE;
        while self.shared.lock().open_pipes > 0 && Instant::now() < deadline {
            pause(Duration::from_millis(5));
        }
    }

    /// Signals the whole group. The shell's built-in `kill` is there on every system that has `sh`.
    fn signal(&self, signal: &str) {
        if let Ok(mut shell) = Command::new("sh")
            .args(["-c", r#"kill -s "$1" -- "-$2" 2>/dev/null"#, "sh", signal])
            .arg(self.id().to_string())
            .spawn()
        {
            // The signal is sent by then; how the shell ended says only whether the group still lived.
            let _ = shell.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal("TERM");
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            pause(Duration::from_millis(10));
        }
        self.signal("KILL");
        // Reaps it; there is nobody left to tell about an error.
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// Where it cannot start or still runs after `timeout`. Its exit code is not looked at.
pub fn run(name: &str, command: &mut Command, timeout: Duration) -> Result<Finished> {
    Process::spawn(name, command)?.finish(timeout)
}

fn collect(channel: Channel, pipe: impl Read + Send + 'static, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut output = shared.lock();
            if let Some(log) = &mut output.log {
                // A full disk must not end what is watched.
                let _ = writeln!(log, "{text}");
            }
            if output.lines.len() == KEPT_LINES {
                output.lines.remove(0);
                output.dropped += 1;
            }
            output.lines.push((channel, text));
            shared.changed.notify_all();
        }
        shared.lock().open_pipes -= 1;
        shared.changed.notify_all();
    });
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(count);
    lines.into_iter().skip(first).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_line_can_be_waited_for_and_the_process_ends_with_its_owner() {
        let mut process = Process::spawn("sleeper", &mut shell("echo up >&2; exec sleep 1000")).unwrap();
        let line = process
            .wait_for_line("the line", SOON, |line| line == "up")
            .unwrap();
        assert_eq!(line, "up");
        let (finished, _) = process.terminate(SOON).unwrap();
        assert_eq!(finished.code, 128 + 15);
    }

    #[test]
    fn an_early_end_is_told_with_the_last_lines() {
        let mut process = Process::spawn("brief", &mut shell("echo why; exit 3")).unwrap();
        let error = process.wait_for_line("ready", SOON, |line| line == "ready");
        let text = error.unwrap_err().to_string();
        assert!(text.contains("why") && text.contains("ready"), "{text}");
    }

    #[test]
    fn both_outputs_and_the_code_of_a_short_run_are_kept_apart() {
        let finished = run("both", &mut shell("echo out; echo err >&2; exit 7"), SOON).unwrap();
        assert_eq!(
            (finished.code, finished.stdout.as_str(), finished.stderr.as_str()),
            (7, "out\n", "err\n")
        );
        assert!(finished.success().is_err());
    }
}
