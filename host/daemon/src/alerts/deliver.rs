//! Brings messages to their targets: a task and a bounded queue for each, so that a target that is slow or dead holds up no
//! other and never the node. Messages of one target arrive in their order.
//!
//! A webhook that is busy or cannot be reached is tried again, later each time; then the message is given up. Each failure
//! is logged and counted.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use peerup_api::{AlertMessage, AlertTargetInfo};
use peerup_config::{AlertTarget, AlertWay};
use peerup_model::AlertName;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{command, webhook};

/// Messages that wait for one target; one that finds no room is given up.
const QUEUE: usize = 32;
/// Attempts at one message.
const ATTEMPTS: u32 = 6;
/// The wait after the first attempt; each one is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It got there; what came back.
    Delivered(String),
    /// It did not, and may later.
    Again(String),
    /// It did not, and another attempt would not either.
    Refused(String),
}

/// What came of the messages to one target since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) delivered: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Tally {
    fn note(&self, error: Option<&str>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(str::to_owned);
    }

    /// Returns it as the API tells it.
    pub(super) fn describe(&self, name: &AlertName, target: &AlertTarget) -> AlertTargetInfo {
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        AlertTargetInfo {
            target: name.to_string(),
            goes_to: target.way.shown(),
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed) + self.dropped.load(Ordering::Relaxed),
            last_error: last_error.clone(),
        }
    }
}

/// Returns how long to wait after so many attempts: twice as long each time, and up to a half less by chance, so that
/// many nodes do not come back at the same moment. `chance` is between 0 and 1.
fn wait_after(attempts: u32, chance: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    doubled
        .min(LONGEST_WAIT)
        .mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

/// A number between 0 and 1.
fn chance() -> f64 {
    // Without randomness the wait is the same each time, which harms nobody.
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

/// The way to one target.
#[derive(Debug)]
pub(super) struct Courier {
    pub(super) target: AlertTarget,
    pub(super) tally: Arc<Tally>,
    queue: mpsc::Sender<Arc<AlertMessage>>,
}

impl Courier {
    /// Starts its task, which ends with its queue, after what is in it, and with the node.
    pub(super) fn start(
        route: Route,
        tally: Arc<Tally>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (target, shutdown) = (route.target.clone(), shutdown.clone());
        let carried = carry(route, waiting, tally.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = carried => {}
            }
        });
        Self { target, tally, queue }
    }

    /// Takes a message on, and waits for nothing.
    pub(super) fn send(&self, message: Arc<AlertMessage>) {
        if let Err(refused) = self.queue.try_send(message) {
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
            self.tally.note(Some("too many messages wait for this target"));
            tracing::warn!(to = %self.target.way.shown(), %refused, "an alert found no room and is dropped");
        }
    }
}

/// All that an attempt needs to know.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) name: AlertName,
    pub(super) target: AlertTarget,
    /// The config that names it.
    pub(super) config: PathBuf,
}

impl Route {
    /// Makes one attempt.
    pub(super) async fn attempt(&self, message: &AlertMessage) -> Outcome {
        let timeout = self.target.timeout;
        match &self.target.way {
            AlertWay::Webhook {
                url,
                authorization_file,
            } => webhook::post(url, authorization_file.as_deref(), timeout, message).await,
            AlertWay::Command(words) => {
                command::run(&self.config, words, timeout, self.name.as_str(), message).await
            }
        }
    }
}

async fn carry(route: Route, mut waiting: mpsc::Receiver<Arc<AlertMessage>>, tally: Arc<Tally>) {
    while let Some(message) = waiting.recv().await {
        bring(&route, &message, &tally).await;
    }
}

/// Tries until it got there or is given up.
async fn bring(route: &Route, message: &AlertMessage, tally: &Tally) {
    let (to, rule) = (route.name.as_str(), message.rule.as_str());
    for attempt in 1..=ATTEMPTS {
        let why = match route.attempt(message).await {
            Outcome::Delivered(answer) => {
                tracing::debug!(to, rule, answer, "an alert was delivered");
                tally.delivered.fetch_add(1, Ordering::Relaxed);
                tally.note(None);
                return;
            }
            Outcome::Again(why) if attempt < ATTEMPTS => {
                let wait = wait_after(attempt, chance());
                tracing::warn!(
                    to,
                    rule,
                    why,
                    ?wait,
                    "an alert was not delivered, and is tried again"
                );
                tally.retried.fetch_add(1, Ordering::Relaxed);
                tally.note(Some(&why));
                tokio::time::sleep(wait).await;
                continue;
            }
            Outcome::Again(why) | Outcome::Refused(why) => why,
        };
        tracing::error!(
            to,
            rule,
            why,
            attempts = attempt,
            "an alert was not delivered, and is given up"
        );
        tally.failed.fetch_add(1, Ordering::Relaxed);
        tally.note(Some(&why));
        return;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use peerup_api::AlertNode;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    pub(crate) fn message(state: &str) -> AlertMessage {
        AlertMessage {
            version: 1,
            rule: "home-away".to_owned(),
            when: "peer-away".to_owned(),
            state: state.to_owned(),
            repeated: false,
            since: "2026-01-01T00:00:00Z".to_owned(),
            at: "2026-01-01T00:05:00Z".to_owned(),
            node: AlertNode {
                name: Some("laptop".to_owned()),
                peer_id: "12D3Koo".to_owned(),
            },
            subject: "home".to_owned(),
            message: "home is not connected".to_owned(),
            next_step: "see: peerup why home".to_owned(),
        }
    }

    fn route(port: u16) -> Route {
        Route {
            name: "chat".parse().unwrap(),
            target: AlertTarget {
                way: AlertWay::Webhook {
                    url: format!("http://127.0.0.1:{port}/secret"),
                    authorization_file: None,
                },
                timeout: Duration::from_secs(10),
            },
            config: PathBuf::from("/x/config.yaml"),
        }
    }

    /// Reads a request with its body, and answers with this status.
    async fn answer(mut stream: TcpStream, status: &str) -> String {
        let mut request = Vec::new();
        loop {
            stream.read_buf(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse().unwrap() {
                break;
            }
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[test]
    fn waits_double_up_to_a_minute_and_chance_takes_at_most_half() {
        let waits: Vec<u64> = (1..=7)
            .map(|attempt| wait_after(attempt, 0.0).as_secs())
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait_after(1, 1.0), Duration::from_secs(1));
        assert_eq!(wait_after(u32::MAX, 0.5), Duration::from_secs(45));
        assert!((0..100).all(|_| (0.0..=1.0).contains(&chance())));
    }

    #[tokio::test]
    async fn a_webhook_gets_the_message_with_the_secret_of_the_file() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        secret(&file, "Bearer abc");
        let mut route = route(listener.local_addr().unwrap().port());
        let AlertWay::Webhook {
            authorization_file, ..
        } = &mut route.target.way
        else {
            unreachable!()
        };
        *authorization_file = Some(file);
        let message = message("firing");
        let served = async { answer(listener.accept().await.unwrap().0, "204 No Content").await };
        let (request, outcome) = tokio::join!(served, route.attempt(&message));
        assert_eq!(outcome, Outcome::Delivered("204 No Content".to_owned()));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /secret http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer abc"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(serde_json::from_str::<AlertMessage>(body).unwrap(), message);
    }

    fn secret(path: &std::path::Path, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_webhook_is_tried_again_and_then_given_up_and_the_next_message_follows() {
        // Nobody listens there any more.
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let courier = Courier::start(route(port), Arc::default(), &tasks, &shutdown);
        courier.send(Arc::new(message("firing")));
        courier.send(Arc::new(message("resolved")));
        let tally = courier.tally.clone();
        drop(courier);
        tasks.close();
        tasks.wait().await;
        assert_eq!(tally.failed.load(Ordering::Relaxed), 2);
        assert_eq!(tally.retried.load(Ordering::Relaxed), 2 * u64::from(ATTEMPTS - 1));
        let told = tally.describe(&"chat".parse().unwrap(), &route(port).target);
        let error = told.last_error.unwrap();
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(told.goes_to, format!("http://127.0.0.1:{port}/..."));
    }

    #[tokio::test]
    async fn messages_that_find_no_room_are_dropped_and_counted_and_nobody_waits() {
        // It accepts connections and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let port = listener.local_addr().unwrap().port();
        let courier = Courier::start(route(port), Arc::default(), &tasks, &shutdown);
        for _ in 0..QUEUE + 10 {
            courier.send(Arc::new(message("firing")));
        }
        assert!(courier.tally.dropped.load(Ordering::Relaxed) >= 9);
        // The end of the node waits for no target.
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_no_is_not_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = route(listener.local_addr().unwrap().port());
        let (message, tally) = (message("firing"), Tally::default());
        let served = async { answer(listener.accept().await.unwrap().0, "403 Forbidden").await };
        tokio::join!(served, bring(&route, &message, &tally));
        assert_eq!(tally.failed.load(Ordering::Relaxed), 1);
        assert_eq!(tally.retried.load(Ordering::Relaxed), 0);
    }
}
