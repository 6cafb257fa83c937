//! Work beside the main function of a plugin.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Starts a task that runs beside this one. It ends with the instance at the latest, so a plugin that returns
/// while a task is at work stays loaded until that is done.
///
/// ```no_run
/// # use peerup_plugin_sdk::{log, spawn, time};
/// # use std::time::Duration;
/// spawn(async {
///     time::sleep(Duration::from_secs(60)).await;
///     log::info("still here");
/// });
/// ```
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(wit_bindgen::spawn_local(future))
}

/// A task at work; awaiting it gives its result, or `None` if it was cancelled. Dropping this lets it go on.
pub struct Task<T>(wit_bindgen::JoinHandle<T>);

impl<T> Task<T> {
    /// Ends the task where it waits.
    ///
    /// ```no_run
    /// # use peerup_plugin_sdk::spawn;
    /// spawn(std::future::pending::<()>()).cancel();
    /// ```
    pub fn cancel(mut self) {
        self.0.cancel();
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(context)
    }
}
