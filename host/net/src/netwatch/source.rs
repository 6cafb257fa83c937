//! Where the watch gets its wakes and surveys from: netlink, or a poll of `/proc` where netlink fails.
//!
//! Driven by the watch's task. Nothing that goes wrong here is an error for the node; it only hears of changes later.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::survey::NetState;
#[cfg(target_os = "linux")]
use super::{netlink, proc};

/// How often the state is read where nothing tells of changes.
const POLL: Duration = Duration::from_secs(10);

/// Why the watch was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// Something changed, and more may follow at once.
    Moved,
    /// It is time to look again.
    Poll,
}

/// Netlink or polling.
pub(super) struct Source {
    #[cfg(target_os = "linux")]
    subscription: Option<netlink::Subscription>,
    poll: Interval,
}

impl Source {
    /// Opens the best source there is. Must run inside a tokio runtime.
    pub(super) fn open() -> Self {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            #[cfg(target_os = "linux")]
            subscription: netlink::Subscription::new().inspect_err(warn_of_polling).ok(),
            poll,
        }
    }

    /// A source as it is where netlink does not work.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn polling() -> Self {
        Self {
            subscription: None,
            poll: interval(POLL),
        }
    }
}

#[cfg(target_os = "linux")]
impl Source {
    /// Waits for the next wake. Cancel safe.
    pub(super) async fn woken(&mut self) -> Wake {
        let Some(subscription) = &mut self.subscription else {
            self.poll.tick().await;
            return Wake::Poll;
        };
        if let Err(error) = subscription.changed().await {
            self.poll_from_now_on(&error);
        }
        Wake::Moved
    }

    /// Reads the state of the network; `None` where there is no way to.
    pub(super) async fn survey(&mut self) -> Option<NetState> {
        if self.subscription.is_some() {
            match netlink::survey().await {
                Ok(survey) => return Some(survey.state()),
                Err(error) => self.poll_from_now_on(&error),
            }
        }
        match tokio::task::spawn_blocking(proc::survey).await {
            Ok(Ok(survey)) => Some(survey.state()),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the network's state cannot be read from /proc");
                None
            }
            Err(_) => None,
        }
    }

    fn poll_from_now_on(&mut self, error: &(impl std::error::Error + 'static)) {
        self.subscription = None;
        self.poll.reset();
        warn_of_polling(error);
    }
}

/// Said once, since there is no way back to netlink.
#[cfg(target_os = "linux")]
fn warn_of_polling(error: &(impl std::error::Error + 'static)) {
    let error = crate::error::root_cause(error);
    tracing::warn!(
        error,
        "netlink does not work here; changes of the network are noticed within {} s instead of at once",
        POLL.as_secs()
    );
}

#[cfg(not(target_os = "linux"))]
impl Source {
    /// Waits for the next wake. Cancel safe.
    pub(super) async fn woken(&mut self) -> Wake {
        self.poll.tick().await;
        Wake::Poll
    }

    /// There is no way to read the state of the network yet.
    #[expect(clippy::unused_async, reason = "other systems wait here")]
    pub(super) async fn survey(&mut self) -> Option<NetState> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn polling_and_netlink_see_the_same_network() {
        let netlink = Source::open().survey().await.unwrap();
        let polled = Source::polling().survey().await.unwrap();
        assert_eq!(polled.addresses, netlink.addresses);
        assert_eq!(polled.tunnels, netlink.tunnels);
        // Only netlink knows the routers' link-layer addresses for IPv6.
        let hops = |state: NetState| -> Vec<_> {
            let gateways = state.gateways.into_iter();
            gateways
                .map(|gateway| (gateway.address, gateway.interface))
                .collect()
        };
        assert_eq!(hops(polled), hops(netlink));
    }
}
