//! The signals that a process heeds: `SIGINT` and `SIGTERM` end it, `SIGHUP` has it read its config again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To end in order.
    End,
    /// To read the config again.
    Reload,
    /// To stand still, which a test asks for with `SIGUSR1`.
    #[cfg(debug_assertions)]
    Stall,
}

/// The signals, heeded from when this is made.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    #[cfg(debug_assertions)]
    user: Signal,
    /// A reload was asked for while nothing but the end was waited for.
    reload_later: bool,
}

impl Signals {
    /// Heeds the signals from now on. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// The system does not let it.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            #[cfg(debug_assertions)]
            user: signal(SignalKind::user_defined1())?,
            reload_later: false,
        })
    }

    /// Returns what the next signal asks for. Cancel safe.
    pub async fn next(&mut self) -> Asked {
        if std::mem::take(&mut self.reload_later) {
            return Asked::Reload;
        }
        self.receive().await
    }

    /// Waits for one that ends the process. A reload that is asked for meanwhile is what [`Signals::next`] returns then.
    /// Cancel safe.
    pub async fn ends(&mut self) {
        loop {
            match self.receive().await {
                Asked::End => return,
                Asked::Reload => self.reload_later = true,
                #[cfg(debug_assertions)]
                Asked::Stall => {}
            }
        }
    }

    async fn receive(&mut self) -> Asked {
        #[cfg(debug_assertions)]
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Asked::End,
            _ = self.terminate.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user.recv() => Asked::Stall,
        }
        #[cfg(not(debug_assertions))]
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Asked::End,
            _ = self.terminate.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// One test: signals are of the whole process.
    #[tokio::test]
    async fn a_reload_that_is_asked_for_too_early_is_told_later() {
        let mut signals = Signals::new().unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        assert_eq!(signals.next().await, Asked::Reload);
        kill_process(getpid(), Signal::HUP).unwrap();
        while !signals.reload_later {
            tokio::select! {
                biased;
                () = signals.ends() => unreachable!("nothing asked for the end"),
                () = tokio::task::yield_now() => {}
            }
        }
        kill_process(getpid(), Signal::TERM).unwrap();
        signals.ends().await;
        assert_eq!(signals.next().await, Asked::Reload);
        kill_process(getpid(), Signal::INT).unwrap();
        assert_eq!(signals.next().await, Asked::End);
    }
}
