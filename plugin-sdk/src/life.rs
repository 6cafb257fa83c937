//! How the host tells a long-lived instance about its life.

use std::{future::Future, pin::pin};

use futures_util::future::{Either, select};

use crate::bindings::peerup::plugin::life as raw;

/// Returns when the plugin is asked to end: it is disabled, upgraded, or the daemon stops. What still runs some time
/// after that (`limits.drain`, 30 s by default) is cancelled.
///
/// ```no_run
/// # use peerup_plugin_sdk::life;
/// # async fn example() {
/// life::stopping().await;
/// # }
/// ```
pub async fn stopping() {
    raw::stopping().await;
}

/// Returns when the plugin's settings have changed since the last call, or since its instance began. A plugin that
/// calls this anywhere is not restarted for a change of its settings.
///
/// ```no_run
/// # use peerup_plugin_sdk::life;
/// # async fn example() {
/// life::settings_changed().await;
/// # }
/// ```
pub async fn settings_changed() {
    raw::settings_changed().await;
}

/// Does some work until it is done or the plugin is asked to end; none in the second case.
///
/// ```no_run
/// # use peerup_plugin_sdk::{life, time};
/// # use std::time::Duration;
/// # async fn example() {
/// let slept = life::until_stopping(time::sleep(Duration::from_secs(60))).await;
/// # }
/// ```
pub async fn until_stopping<T>(work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(stopping())).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
