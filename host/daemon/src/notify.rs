//! Tells systemd how the node is, where systemd started it. Everywhere else these calls do nothing.

use sd_notify::NotifyState;

/// Reservations, services and API stand.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node is ending.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd's notify socket did not take a message");
    }
}
