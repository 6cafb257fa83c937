//! Clocks and waiting. A wait suspends its own task only; the plugin's other tasks go on.

use std::{
    future::{Future, poll_fn},
    ops::Sub,
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::{Error, bindings::wasi::clocks::monotonic_clock};

/// A moment of the host's monotonic clock, to the nanosecond. It says nothing about the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Returns how long ago this moment was; zero for one to come.
    ///
    /// ```no_run
    /// use peerup_plugin_sdk::time;
    ///
    /// let start = time::now();
    /// let took = start.elapsed();
    /// ```
    pub fn elapsed(self) -> Duration {
        now() - self
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Returns this moment.
///
/// ```no_run
/// let start = peerup_plugin_sdk::time::now();
/// ```
pub fn now() -> Instant {
    Instant(monotonic_clock::now())
}

/// Waits this long; a duration past 584 years is one of 584 years.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example() {
/// peerup_plugin_sdk::time::sleep(Duration::from_secs(1)).await;
/// # }
/// ```
pub async fn sleep(duration: Duration) {
    if duration.is_zero() {
        return;
    }
    monotonic_clock::wait_for(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).await;
}

/// Runs a future for at most this long and drops it after that.
///
/// Fails with [`Error::TimedOut`] then, and with the future's own error before.
///
/// ```no_run
/// # use std::time::Duration;
/// # use peerup_plugin_sdk::{Error, Incoming, time};
/// async fn line(incoming: &mut Incoming) -> Result<Option<Vec<u8>>, Error> {
///     time::timeout(Duration::from_secs(15), incoming.read_line(64)).await
/// }
/// ```
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep(limit));
    poll_fn(|context| {
        if let Poll::Ready(done) = future.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        sleep.as_mut().poll(context).map(|()| {
            Err(Error::timed_out(format!(
                "no answer within {} ms",
                whole_millis(limit)
            )))
        })
    })
    .await
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_a_moment_to_come_is_zero() {
        assert_eq!(Instant(7) - Instant(5), Duration::from_nanos(2));
        assert_eq!(Instant(5) - Instant(7), Duration::ZERO);
    }
}
