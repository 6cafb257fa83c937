//! A relay's folder with the relay in it, as its operator has them.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

/// A relay's folder, and the relay while it runs.
pub(crate) struct Running {
    pub(crate) folder: TempDir,
    pub(crate) config: PathBuf,
    health: SocketAddr,
    pub(crate) child: Option<Child>,
    pub(crate) lines: Option<Receiver<String>>,
    notify: UnixDatagram,
}

pub(crate) fn relay_server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-server"));
    command
        .args(arguments)
        .env_remove("PEERUP_RELAY_CONFIG")
        .env_remove("NOTIFY_SOCKET");
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Running {
    pub(crate) fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        let listen = "/ip4/127.0.0.1/tcp/0";
        let made = relay_server(&["init", "--dir", dir, "--listen", listen])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
        let config = folder.path().join("relay-server.yaml");
        let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let running = Self {
            folder,
            config,
            health,
            child: None,
            lines: None,
            notify,
        };
        running.edit(|text| format!("{text}\nhealth:\n  enabled: true\n  listen_address: {health}\n"));
        running
    }

    pub(crate) fn edit(&self, edit: impl FnOnce(&str) -> String) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, edit(&text)).unwrap();
    }

    pub(crate) fn start(&mut self, variables: &[(&str, &str)]) {
        let mut child = relay_server(&["--config", self.config.to_str().unwrap()])
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        self.child = Some(child);
        self.lines = Some(lines);
        self.says("ready 12D3KooW");
        self.hears("READY=1");
    }

    /// Waits for a line of its log.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) {
        let lines = self.lines.as_ref().unwrap();
        let mut seen = Vec::new();
        while let Ok(line) = lines.recv_timeout(SOON) {
            if line.contains(words) {
                return;
            }
            seen.push(line);
        }
        panic!("no {words:?} in {seen:#?}");
    }

    /// Returns the next message to the service manager within this time.
    pub(crate) fn next_message(&self, within: Duration) -> Option<String> {
        self.notify.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 2048];
        match self.notify.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub(crate) fn hears(&self, line: &str) -> String {
        loop {
            let message = self
                .next_message(SOON)
                .unwrap_or_else(|| panic!("no {line} came"));
            if message.lines().any(|found| found == line) {
                return message;
            }
        }
    }

    /// Waits for a message with a line that begins so.
    #[track_caller]
    pub(crate) fn hears_of(&self, beginning: &str) -> String {
        loop {
            let message = self
                .next_message(SOON)
                .unwrap_or_else(|| panic!("no {beginning} came"));
            if message.lines().any(|found| found.starts_with(beginning)) {
                return message;
            }
        }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        relay_server(arguments)
            .args(["--config", self.config.to_str().unwrap()])
            .output()
            .unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.health).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.child.take().unwrap().wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
