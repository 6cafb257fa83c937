//! A link between two namespaces that takes time and loses packets, for kernels without `netem`: a TUN
//! device on each side, and a thread for each direction that carries packets from one to the other.
//!
//! ```text
//!  namespace a                                            namespace b
//!   device a --- read -- lost? -- wait for `delay` -- write --- device b
//!            --- write -- wait for `delay` -- lost? -- read ---
//! ```
//!
//! The devices carry IP packets, no Ethernet: no neighbour is asked for on them, so nothing but the
//! traffic itself is delayed and lost. They are gone when the link is dropped.

mod line;
mod pump;
mod tun;

use std::{
    io::{PipeWriter, pipe},
    os::fd::OwnedFd,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::Host;
use line::Line;
use pump::Pump;

/// What a link does to packets, in each direction by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// How long a packet is under way, at least; a round trip takes twice as long.
    pub delay: Duration,
    /// The share of packets that vanish, from 0 (none) to 1 (all).
    pub loss: f64,
    /// What decides which packets vanish: the same seed picks the same numbers of the sequence.
    pub seed: u64,
}

/// A link with an [`Impairment`]. Dropping it ends its threads and removes both devices.
#[derive(Debug)]
pub struct ImpairedLink {
    /// The end of this pipe is what the threads stop at.
    stop: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

impl ImpairedLink {
    /// Creates a TUN device in each of two places and joins them. Both are down and have no address: the
    /// caller gives them addresses and routes, with `ip` through [`Host::command`].
    ///
    /// # Errors
    /// Where the loss is no share, a device of that name exists, its name is too long (15 bytes), the
    /// namespace is gone, or the process may not create devices there.
    pub fn between(
        a: &Host,
        a_device: &str,
        b: &Host,
        b_device: &str,
        impairment: Impairment,
    ) -> Result<Self> {
        let loss = impairment.loss;
        ensure!((0.0..=1.0).contains(&loss), "a loss of {loss} is no share");
        let a_tun = Arc::new(tun::open(a, a_device)?);
        let b_tun = Arc::new(tun::open(b, b_device)?);
        let (stopped, stop) = pipe().context("no pipe")?;
        let mut link = Self {
            stop: Some(stop),
            threads: Vec::new(),
        };
        let directions = [
            (a_device, &a_tun, &b_tun, impairment.seed),
            (b_device, &b_tun, &a_tun, !impairment.seed),
        ];
        for (name, from, to, seed) in directions {
            let line = Line::new(Impairment { seed, ..impairment });
            let stopped = OwnedFd::from(stopped.try_clone()?);
            let pump = Pump::new(Arc::clone(from), Arc::clone(to), stopped, line);
            let thread = std::thread::Builder::new().name(name.to_owned());
            link.threads.push(thread.spawn(move || pump.run())?);
        }
        Ok(link)
    }
}

impl Drop for ImpairedLink {
    fn drop(&mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            // It ends either way; a panic has printed itself.
            let _ = thread.join();
        }
    }
}
