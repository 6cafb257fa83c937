//! The tunnels of the soak: opened, used and closed all the time, each byte looked at, each failure dated.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use peerup_testkit::Process;

use crate::lab::stage::{HOME, Stage};

/// A proxy lives this long before it is closed and opened anew.
const PROXY_LIFE: Duration = Duration::from_secs(12);
/// A failure of a tunnel that was begun this long after the last disturbance, and ended before the next one, has no
/// excuse.
pub(super) const EXCUSE: Duration = Duration::from_secs(15);

/// The clients and the proxy that they go through.
pub(super) struct Traffic {
    clients: Process,
    proxy: Option<(Process, Instant)>,
}

/// A time without disturbance, in seconds of the Unix clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Calm {
    /// When the last disturbance ended.
    pub(super) from: f64,
    /// When the next one came.
    pub(super) until: f64,
}

impl Traffic {
    /// Starts the clients; they rest until there is a proxy.
    pub(super) fn start(stage: &Stage, seed: u64) -> Result<Self> {
        let mut command = stage.script(&stage.lab.b().host)?;
        command.args(["churn", &seed.to_string()]);
        Ok(Self {
            clients: Process::spawn_with_input("churn", &mut command)?,
            proxy: None,
        })
    }

    /// Sees to it that there is a proxy, and now and then another one. One that cannot be opened is the
    /// caller's to judge.
    pub(super) fn keep_up(&mut self, stage: &Stage) -> Result<()> {
        if let Some((proxy, since)) = &mut self.proxy
            && proxy.exited()?.is_none()
            && since.elapsed() < PROXY_LIFE
        {
            return Ok(());
        }
        self.rest()?;
        let (proxy, address) = stage.laptop()?.proxy(HOME, "echo")?;
        let (host, port) = address.rsplit_once(':').context("no port")?;
        self.clients.write(format!("to {host} {port}\n").as_bytes())?;
        self.proxy = Some((proxy, Instant::now()));
        Ok(())
    }

    /// Stops opening, and closes the proxy.
    pub(super) fn rest(&mut self) -> Result<()> {
        self.clients.write(b"pause\n")?;
        if let Some((mut proxy, _)) = self.proxy.take() {
            // It may have ended with the daemon that ran it.
            let _ = proxy.interrupt(Duration::from_secs(10));
        }
        Ok(())
    }

    /// How many connections have gone well so far, and how many answers have come on all of them: one that is held
    /// open works, too.
    pub(super) fn done(&self) -> (u64, u64) {
        done(&self.clients.stdout())
    }

    /// How many have failed, and those among them that have no excuse.
    pub(super) fn failures(&self, calms: &[Calm]) -> (usize, Vec<String>) {
        let told = self.clients.stdout();
        let failures: Vec<TunnelFailure<'_>> = told.lines().filter_map(TunnelFailure::read).collect();
        let bad = failures.iter().filter(|failure| failure.is_without_excuse(calms));
        let bad = bad.map(|failure| {
            format!(
                "a tunnel from {:.2} to {:.2} in calm weather failed: {}",
                failure.begun, failure.ended, failure.why
            )
        });
        (failures.len(), bad.collect())
    }
}

/// Now, in seconds of the Unix clock.
pub(super) fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

fn done(told: &str) -> (u64, u64) {
    let counts = told.lines().rev().find_map(|line| {
        let (connections, rounds) = line.strip_prefix("done ")?.split_once(' ')?;
        Some((connections.parse().ok()?, rounds.parse().ok()?))
    });
    counts.unwrap_or_default()
}

/// One tunnel that failed, by the Unix clock.
#[derive(Debug, PartialEq)]
struct TunnelFailure<'a> {
    begun: f64,
    ended: f64,
    why: &'a str,
}

impl<'a> TunnelFailure<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut parts = line.strip_prefix("failed ")?.splitn(3, ' ');
        Some(Self {
            begun: parts.next()?.parse().ok()?,
            ended: parts.next()?.parse().ok()?,
            why: parts.next()?,
        })
    }

    /// Whether all of its life lay in calm weather, some time after the last disturbance.
    fn is_without_excuse(&self, calms: &[Calm]) -> bool {
        let excused = EXCUSE.as_secs_f64();
        calms
            .iter()
            .any(|calm| calm.from + excused < self.begun && self.ended < calm.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_excused_until_some_time_after_the_last_disturbance_and_from_the_next_one_on() {
        let calms = [
            Calm {
                from: 100.0,
                until: 125.0,
            },
            Calm {
                from: 200.0,
                until: 225.0,
            },
        ];
        for (begun, ended, bad) in [
            (99.0, 120.0, false),
            (114.0, 120.0, false),
            (116.0, 120.0, true),
            (116.0, 126.0, false),
            (126.0, 127.0, false),
            (220.0, 224.0, true),
        ] {
            let failure = TunnelFailure {
                begun,
                ended,
                why: "",
            };
            assert_eq!(failure.is_without_excuse(&calms), bad, "{failure:?}");
        }
    }

    #[test]
    fn the_clients_lines_are_read() {
        assert_eq!(
            TunnelFailure::read("failed 12.50 13.25 [Errno 111] refused"),
            Some(TunnelFailure {
                begun: 12.5,
                ended: 13.25,
                why: "[Errno 111] refused"
            })
        );
        assert_eq!(TunnelFailure::read("done 4 7"), None);
        assert_eq!(done("done 3 4\nfailed 1 x\ndone 9 30\n"), (9, 30));
        assert_eq!(done(""), (0, 0));
    }
}
