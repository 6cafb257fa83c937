//! Waiting for the outside world: polls a condition up to a deadline, and gives up early when the
//! person at the keyboard asked to stop.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How often a condition is looked at. Short beside every deadline in use, long beside a system call.
const INTERVAL: Duration = Duration::from_millis(25);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes every wait of this process, running or to come, fail soon. Called by a signal handler's thread.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Returns whether [`interrupt`] was called.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Asks `condition` again and again until it returns a value.
///
/// # Errors
/// The first error of `condition`; after `timeout` one that names `what`; "interrupted" after [`interrupt`].
pub fn poll<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        if Instant::now() >= deadline {
            bail!("gave up after {timeout:?} waiting for {what}");
        }
        pause(INTERVAL);
    }
}

/// Sleeps between two looks at something that sends no event.
#[expect(
    clippy::disallowed_methods,
    reason = "other processes send no event to wait for; this is the one place that polls them"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_value_or_with_the_name_of_what_never_came() {
        let mut looks = 0;
        let value = poll("the third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(value.unwrap(), 3);

        let never = poll("rain", Duration::from_millis(1), || Ok(None::<()>));
        assert!(never.unwrap_err().to_string().contains("rain"));
    }
}
