//! What plugins ask of the host, for whoever follows it with `peerup plugin trace`. Nothing is kept.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use peerup_api::PluginCall;
use peerup_engine::{CallObserver, HostCall, HostError};
use peerup_model::PluginName;
use tokio::sync::broadcast;

/// Calls that a slow follower may be behind before it misses some.
const FOLLOWED_CALLS: usize = 1024;
/// Bytes of what a call is about that are told.
const MAX_ON_BYTES: usize = 1024;

/// The calls of all plugins, on their way to those who follow.
#[derive(Debug, Default)]
pub(crate) struct PluginCalls {
    /// How many follow any plugin: the one thing that is looked at while nobody does.
    followers: AtomicUsize,
    channels: RwLock<HashMap<PluginName, broadcast::Sender<Arc<PluginCall>>>>,
}

/// Somebody who follows. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Following {
    calls: Arc<PluginCalls>,
    plugin: PluginName,
    /// Lags where the reader is slow.
    pub(crate) news: broadcast::Receiver<Arc<PluginCall>>,
}

impl PluginCalls {
    /// Follows a plugin's calls from now on.
    pub(crate) fn follow(self: &Arc<Self>, plugin: &PluginName) -> Following {
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        let channel = channels
            .entry(plugin.clone())
            .or_insert_with(|| broadcast::Sender::new(FOLLOWED_CALLS));
        let news = channel.subscribe();
        drop(channels);
        self.followers.fetch_add(1, Ordering::SeqCst);
        Following {
            calls: self.clone(),
            plugin: plugin.clone(),
            news,
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.calls.followers.fetch_sub(1, Ordering::SeqCst);
        let mut channels = self
            .calls
            .channels
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // This one's own receiver still counts.
        if channels
            .get(&self.plugin)
            .is_some_and(|channel| channel.receiver_count() <= 1)
        {
            channels.remove(&self.plugin);
        }
    }
}

impl CallObserver for PluginCalls {
    fn watches(&self, plugin: &PluginName) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
            && self
                .channels
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(plugin)
    }

    fn after(&self, call: &HostCall, outcome: Result<(), &HostError>) {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = channels.get(&call.plugin) else {
            return;
        };
        let error = outcome.err();
        let told = PluginCall {
            time: Timestamp::now().to_string(),
            run: call.run.to_string(),
            call: call.call.to_owned(),
            on: tame(&call.on),
            error: error.map(|error| tame(&error.to_string())),
            denied: matches!(error, Some(HostError::Denied(_))),
        };
        // Fails where the last follower has just gone.
        let _ = channel.send(Arc::new(told));
    }
}

/// One line without control characters, cut where it is long: a plugin chose it, and a terminal shows it.
fn tame(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_ON_BYTES);
    let text = text.get(..end).unwrap_or_default();
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use peerup_engine::RunKind;

    use super::*;

    fn call(plugin: &PluginName) -> HostCall {
        HostCall {
            plugin: plugin.clone(),
            run: RunKind::Service,
            call: "tcp.connect",
            on: "db.lan:5432\u{1b}[31m".to_owned(),
        }
    }

    #[test]
    fn only_who_is_followed_is_watched_and_nothing_is_left_over() {
        let calls = Arc::new(PluginCalls::default());
        let (chess, other): (PluginName, PluginName) = ("chess".parse().unwrap(), "other".parse().unwrap());
        assert!(!calls.watches(&chess));
        let (mut one, two) = (calls.follow(&chess), calls.follow(&chess));
        assert!(calls.watches(&chess) && !calls.watches(&other));
        calls.after(&call(&chess), Err(&HostError::Denied("no".to_owned())));
        let told = one.news.try_recv().unwrap();
        assert_eq!((told.on.as_str(), told.denied), ("db.lan:5432 [31m", true));
        drop(one);
        assert!(calls.watches(&chess));
        drop(two);
        assert!(!calls.watches(&chess));
        assert!(calls.channels.read().unwrap().is_empty());
    }
}
