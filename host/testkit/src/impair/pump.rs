//! The I/O of one direction: a thread that reads packets from one device, hands them to the [`Line`], and
//! writes what arrives to the other. It waits for a packet, for the next arrival and for the end of the
//! link's pipe, and ends with that pipe or with one of the devices.

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
};

use super::line::Line;

/// The largest IP packet.
const LARGEST: usize = 65_535;
/// Packets read in a row before those that have arrived are written: a sender that never pauses must not
/// hold them up.
const BATCH: usize = 64;

/// One direction.
pub(super) struct Pump {
    from: Arc<OwnedFd>,
    to: Arc<OwnedFd>,
    stopped: OwnedFd,
    line: Line,
}

/// The thread has nothing more to do.
struct Ended;

impl Pump {
    /// Both devices must not block; `stopped` is the reading end of a pipe into which nobody writes.
    pub(super) fn new(from: Arc<OwnedFd>, to: Arc<OwnedFd>, stopped: OwnedFd, line: Line) -> Self {
        Self {
            from,
            to,
            stopped,
            line,
        }
    }

    /// Carries packets until the end.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; LARGEST];
        while self.turn(&mut buffer).is_ok() {}
    }

    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), Ended> {
        self.wait()?;
        self.take_in(buffer)?;
        let now = Instant::now();
        while let Some(packet) = self.line.next_packet(now) {
            // What a device that is down or full does not take is lost, as on any link.
            let _ = write(&*self.to, &packet);
        }
        Ok(())
    }

    /// Waits until there is something to read or to write.
    fn wait(&self) -> Result<(), Ended> {
        let due = self.line.poll_timeout();
        let left = due.map(|due| timespec(due.saturating_duration_since(Instant::now())));
        let mut descriptors = [
            PollFd::new(&*self.from, PollFlags::IN),
            PollFd::new(&self.stopped, PollFlags::empty()),
        ];
        match poll(&mut descriptors, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Err(Ended),
        }
        let over = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let ended = descriptors.iter().any(|one| one.revents().intersects(over));
        if ended { Err(Ended) } else { Ok(()) }
    }

    fn take_in(&mut self, buffer: &mut [u8]) -> Result<(), Ended> {
        for _ in 0..BATCH {
            match read(&*self.from, &mut *buffer) {
                Ok(length) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    self.line.handle_packet(packet, Instant::now());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Ended),
            }
        }
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
