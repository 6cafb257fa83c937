//! What stands in for systemd: its notify socket.

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::SOON;

/// A notify socket and what came over it.
pub(crate) struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    pub(crate) fn listen(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path }
    }

    /// Has a command notify this socket, and watches it where a timeout is given.
    pub(crate) fn watch(&self, command: &mut Command, watchdog: Option<Duration>) {
        command.env("NOTIFY_SOCKET", &self.path);
        if let Some(timeout) = watchdog {
            command.env("WATCHDOG_USEC", timeout.as_micros().to_string());
        }
    }

    /// Returns the next message, if there is one within this time.
    pub(crate) fn next(&self, within: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(count) => {
                let text = std::str::from_utf8(&bytes[..count]).unwrap();
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for a message with this line, and returns the whole message.
    #[track_caller]
    pub(crate) fn wait_for(&self, line: &str) -> Vec<String> {
        let mut others = Vec::new();
        loop {
            let Some(message) = self.next(SOON) else {
                panic!("no {line:?} came, only {others:?}");
            };
            if message.iter().any(|found| found == line) {
                return message;
            }
            others.push(message);
        }
    }

    /// Reads over what has come so far.
    pub(crate) fn drain(&self) {
        while self.next(Duration::from_millis(1)).is_some() {}
    }
}

/// Sends a signal to a process of the test.
pub(crate) fn send(process: u32, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}
