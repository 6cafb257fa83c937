//! Tells the service manager how the process is, where one started it. Everywhere else these calls do nothing.
//!
//! The protocol is that of `sd_notify(3)`: one datagram to the socket that `NOTIFY_SOCKET` names.

use std::time::Duration;

use sd_notify::NotifyState;

/// The longest status that is sent, in bytes.
const MAX_STATUS: usize = 512;

/// The process does its work. Says also how it is, in words.
pub fn notify_ready(status: &str) {
    let status = one_line(status);
    tell(&[
        NotifyState::Ready,
        NotifyState::MainPid(std::process::id()),
        NotifyState::Status(&status),
    ]);
}

/// How the process is, in words, for `systemctl status`.
pub fn notify_status(status: &str) {
    tell(&[NotifyState::Status(&one_line(status))]);
}

/// The process reads its config again; [`notify_ready`] ends that. A unit of `Type=notify-reload` waits for both.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
    }
}

/// The process is ending.
pub fn notify_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The process is alive: the service manager's watchdog starts anew.
pub(crate) fn notify_alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Returns how long the service manager waits for a sign of life; none where it does not watch this process.
pub fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager's notify socket did not take a message");
    }
}

/// A line break would begin another assignment, and the words may come from a relay or a plugin.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_STATUS));
    for character in text.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if line.len() + character.len_utf8() > MAX_STATUS {
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_another_assignment_in() {
        assert_eq!(one_line("full\nERRNO=1\r\0x"), "full ERRNO=1  x");
    }

    #[test]
    fn a_status_is_bounded_in_bytes_and_stays_text() {
        let line = one_line(&"ä".repeat(1000));
        assert!(line.len() <= MAX_STATUS);
        assert!(line.chars().all(|character| character == 'ä'));
    }
}
