//! Tells the operator when something needs a person: lets each rule of the config judge a sample of the node, and hands
//! messages to the targets. Driven by `alert_watch`.
//!
//! The judging is pure, in `sight` and `machine`; `deliver` brings messages to `webhook` and `command`. Nothing here waits
//! for a target.

mod command;
mod deliver;
mod machine;
mod sight;
mod webhook;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use peerup_api::{AlertInfo, AlertMessage, AlertNode, AlertTestResult, EventKind};
use peerup_config::{AlertCondition, AlertRule, AlertTarget, AlertsConfig};
use peerup_model::{AlertName, ErrorCode, Failure};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::sight::{Carried, Sample};
use self::{
    deliver::{Courier, Outcome, Route, Tally},
    machine::{Look, Stage, Timing, Told},
    sight::{Finding, Sight},
};
use crate::events::{self, Events};

/// How long a condition has to be clear before an alert is over, where it did not have to hold for less.
const CLEAR_TIME: Duration = Duration::from_secs(60);
/// The form of [`AlertMessage`].
const VERSION: u32 = 1;

/// The alerts of a node.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: BTreeMap<AlertName, Watched>,
    couriers: BTreeMap<AlertName, Courier>,
    /// Kept while the config names the target, also when it goes elsewhere.
    tallies: BTreeMap<AlertName, Arc<Tally>>,
}

/// One rule as it stands.
#[derive(Debug)]
struct Watched {
    rule: AlertRule,
    stage: Stage,
    sight: Sight,
    finding: Option<Finding>,
    told: Option<Timestamp>,
}

/// What the alerts need of the node that they speak for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Desk<'a> {
    pub(crate) node: &'a AlertNode,
    /// The config file, which names the commands.
    pub(crate) config: &'a Path,
    pub(crate) events: &'a Events,
    pub(crate) tasks: &'a TaskTracker,
    pub(crate) shutdown: &'a CancellationToken,
}

impl Desk<'_> {
    fn route(&self, name: &AlertName, target: &AlertTarget) -> Route {
        Route {
            name: name.clone(),
            target: target.clone(),
            config: self.config.to_owned(),
        }
    }
}

/// What a metric says of a target.
#[derive(Debug)]
pub(crate) struct TargetCounts {
    pub(crate) target: String,
    pub(crate) outcomes: [(&'static str, u64); 4],
}

impl Alerts {
    /// Takes the rules and targets of the config over. What is not changed goes on as it was.
    pub(crate) fn follow(&self, desk: Desk<'_>, wanted: &AlertsConfig) {
        let mut state = self.lock();
        let over: Vec<AlertName> = state
            .rules
            .iter()
            .filter(|(name, known)| {
                let rule = wanted.rules.get(*name);
                rule.is_none_or(|rule| rule.condition != known.rule.condition)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            // Its targets hear that nobody looks any more, rather than nothing.
            if let Some(gone) = state.rules.remove(&name).filter(Watched::is_firing) {
                let finding = Finding {
                    look: Look::Clear,
                    message: "the rule was changed or taken out of the config".to_owned(),
                    ..gone
                        .finding
                        .clone()
                        .unwrap_or_else(|| nothing(&gone.rule.condition))
                };
                let since = gone.stage.since();
                let message = message(desk.node, (&name, &gone.rule), (Told::Resolved, since), &finding);
                state.send(desk, &gone.rule.notify, message);
            }
        }
        for (name, rule) in &wanted.rules {
            match state.rules.get_mut(name) {
                Some(known) => known.rule = rule.clone(),
                None => drop(state.rules.insert(name.clone(), Watched::new(rule.clone()))),
            }
        }
        state.follow_targets(desk, &wanted.targets);
    }

    /// Lets each rule judge, and sends what is to be told.
    pub(crate) fn judge(&self, desk: Desk<'_>, sample: &Sample) {
        let mut state = self.lock();
        let mut messages = Vec::new();
        for (name, watched) in &mut state.rules {
            let finding = watched.sight.look(&watched.rule.condition, sample);
            let since = watched.stage.since();
            let told = watched.stage.handle(finding.look, &watched.timing(), sample.at);
            if let Some(told) = told {
                watched.told = Some(Timestamp::now());
                let since = since.or(watched.stage.since());
                let message = message(desk.node, (name, &watched.rule), (told, since), &finding);
                messages.push((watched.rule.notify.clone(), message));
            }
            watched.finding = Some(finding);
        }
        for (notify, message) in messages {
            state.send(desk, &notify, message);
        }
    }

    /// Returns how each rule stands. Those of a config that was just put in force are there after the next look.
    pub(crate) fn describe(&self) -> Vec<AlertInfo> {
        let state = self.lock();
        let rules = state.rules.iter();
        rules.map(|(name, watched)| state.info(name, watched)).collect()
    }

    /// Returns each rule with the word for how it stands.
    pub(crate) fn stages(&self) -> Vec<(String, &'static str)> {
        let state = self.lock();
        let rules = state.rules.iter();
        rules
            .map(|(name, watched)| (name.to_string(), watched.stage.word()))
            .collect()
    }

    /// Returns what came of the messages to each target.
    pub(crate) fn counts(&self) -> Vec<TargetCounts> {
        let state = self.lock();
        let counts = |(name, tally): (&AlertName, &Arc<Tally>)| TargetCounts {
            target: name.to_string(),
            outcomes: [
                ("delivered", tally.delivered.load(Ordering::Relaxed)),
                ("retried", tally.retried.load(Ordering::Relaxed)),
                ("failed", tally.failed.load(Ordering::Relaxed)),
                ("dropped", tally.dropped.load(Ordering::Relaxed)),
            ],
        };
        state.tallies.iter().map(counts).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held leaves maps that are whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn follow_targets(&mut self, desk: Desk<'_>, wanted: &BTreeMap<AlertName, AlertTarget>) {
        // One that goes brings what it has; its queue ends with it.
        self.couriers
            .retain(|name, courier| wanted.get(name) == Some(&courier.target));
        self.tallies.retain(|name, _| wanted.contains_key(name));
        for (name, target) in wanted {
            if self.couriers.contains_key(name) {
                continue;
            }
            let tally = self.tallies.entry(name.clone()).or_default().clone();
            let courier = Courier::start(desk.route(name, target), tally, desk.tasks, desk.shutdown);
            self.couriers.insert(name.clone(), courier);
        }
    }

    /// Logs a message, tells those who follow events, and hands it to the targets.
    fn send(&self, desk: Desk<'_>, notify: &BTreeSet<AlertName>, message: AlertMessage) {
        let (rule, text) = (message.rule.as_str(), message.message.as_str());
        match message.state.as_str() {
            "firing" => tracing::warn!(rule, next_step = message.next_step, "alert: {text}"),
            _ => tracing::info!(rule, "alert over: {text}"),
        }
        desk.events.tell(peerup_api::Event {
            detail: json!({
                "rule": rule, "when": message.when, "state": message.state, "repeated": message.repeated,
                "since": message.since, "subject": message.subject, "message": text,
                "next_step": message.next_step,
            }),
            ..events::event(EventKind::Alert)
        });
        let message = Arc::new(message);
        for courier in notify.iter().filter_map(|name| self.couriers.get(name)) {
            courier.send(message.clone());
        }
    }

    fn info(&self, name: &AlertName, watched: &Watched) -> AlertInfo {
        let finding = watched.finding.as_ref();
        let told = |name: &AlertName| {
            let courier = self.couriers.get(name)?;
            Some(courier.tally.describe(name, &courier.target))
        };
        AlertInfo {
            rule: name.to_string(),
            when: watched.rule.condition.word().to_owned(),
            state: watched.stage.word().to_owned(),
            since: watched.stage.since().map(|since| wall(since).to_string()),
            told: watched.told.map(|told| told.to_string()),
            subject: finding.map(|finding| finding.subject.clone()),
            message: finding.map(|finding| finding.message.clone()),
            next_step: finding
                .filter(|_| watched.stage != Stage::Inactive)
                .map(|finding| finding.next_step.clone()),
            targets: watched.rule.notify.iter().filter_map(told).collect(),
        }
    }
}

impl Watched {
    fn new(rule: AlertRule) -> Self {
        Self {
            rule,
            stage: Stage::default(),
            sight: Sight::default(),
            finding: None,
            told: None,
        }
    }

    fn is_firing(&self) -> bool {
        matches!(self.stage, Stage::Firing { .. })
    }

    fn timing(&self) -> Timing {
        Timing {
            hold: self.rule.hold,
            clear: self.rule.hold.min(CLEAR_TIME),
            repeat: self.rule.repeat,
        }
    }
}

/// Sends a test message to the targets of a rule of the config, past their queues, and returns what came back.
///
/// # Errors
/// There is no such rule, or it has no target.
pub(crate) async fn test(
    desk: Desk<'_>,
    alerts: &AlertsConfig,
    name: &str,
) -> Result<Vec<AlertTestResult>, Failure> {
    let Some((name, rule)) = alerts.rules.iter().find(|(known, _)| known.as_str() == name) else {
        let message = format!("no rule is called {name:?}");
        return Err(Failure::new(ErrorCode::NotFound, message).with_hint(
            "see those there are with: peerup alerts list; they stand under alerts.rules in the config",
        ));
    };
    if rule.notify.is_empty() {
        let message = format!("the rule {name} has no target");
        return Err(Failure::new(ErrorCode::Conflict, message)
            .with_hint("write one under alerts.targets in the config"));
    }
    let finding = Finding {
        message: format!("this is a test of the rule {name}"),
        next_step: "nothing: somebody ran peerup alerts test".to_owned(),
        ..nothing(&rule.condition)
    };
    let mut message = message(desk.node, (name, rule), (Told::Firing, None), &finding);
    "test".clone_into(&mut message.state);
    let targets = rule
        .notify
        .iter()
        .filter_map(|name| alerts.targets.get_key_value(name));
    let attempts = targets.map(|(name, target)| {
        let (route, message) = (desk.route(name, target), &message);
        async move { result(&route, route.attempt(message).await) }
    });
    Ok(futures::future::join_all(attempts).await)
}

fn result(route: &Route, outcome: Outcome) -> AlertTestResult {
    let (delivered, answer) = match outcome {
        Outcome::Delivered(answer) => (true, answer),
        Outcome::Again(why) | Outcome::Refused(why) => (false, why),
    };
    AlertTestResult {
        target: route.name.to_string(),
        goes_to: route.target.way.shown(),
        delivered,
        answer,
    }
}

/// What there is to say of a condition that nobody has looked at.
fn nothing(condition: &AlertCondition) -> Finding {
    Finding {
        look: Look::Unknown,
        subject: condition.word().to_owned(),
        message: String::new(),
        next_step: "see: peerup alerts list".to_owned(),
    }
}

fn message(
    node: &AlertNode,
    (name, rule): (&AlertName, &AlertRule),
    (told, since): (Told, Option<Instant>),
    finding: &Finding,
) -> AlertMessage {
    let at = Timestamp::now();
    let state = match told {
        Told::Firing | Told::Again => "firing",
        Told::Resolved => "resolved",
    };
    AlertMessage {
        version: VERSION,
        rule: name.to_string(),
        when: rule.condition.word().to_owned(),
        state: state.to_owned(),
        repeated: told == Told::Again,
        since: since.map_or(at, wall).to_string(),
        at: at.to_string(),
        node: node.clone(),
        subject: finding.subject.clone(),
        message: finding.message.clone(),
        next_step: finding.next_step.clone(),
    }
}

/// When that was, by the clock on the wall.
fn wall(at: Instant) -> Timestamp {
    let ago = SignedDuration::try_from(at.elapsed()).unwrap_or_default();
    Timestamp::now().checked_sub(ago).unwrap_or_default()
}
