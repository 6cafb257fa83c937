//! Where a command runs: on this machine as it is, or inside a network namespace of the lab.

use std::{ffi::OsStr, process::Command};

/// A place to run commands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    namespace: Option<String>,
    address: String,
}

impl Host {
    /// This machine, reached at 127.0.0.1.
    pub fn local() -> Self {
        Self {
            namespace: None,
            address: "127.0.0.1".to_owned(),
        }
    }

    /// A namespace that exists, by its name for `ip netns`, reached at this address.
    pub fn in_namespace(namespace: String, address: &str) -> Self {
        Self {
            namespace: Some(namespace),
            address: address.to_owned(),
        }
    }

    /// The IPv4 address that others in the same segment reach it at.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name of its namespace; none for this machine.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Returns a command that runs there. Inside a namespace `ip` replaces itself with the program, so
    /// the process id is the program's own. Nothing of `PEERUP_*` is inherited.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        };
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("PEERUP_") {
                command.env_remove(key);
            }
        }
        command
    }
}
