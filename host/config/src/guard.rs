//! Decides what becomes of a config that is applied: it is confirmed, or the one from before comes back - by itself,
//! also after a crash, a reboot, a full disk, or where the new one does not start.
//!
//! Pure: whoever drives it carries out one [`Action`] at a time and answers with [`ConfigGuard::handle_done`]. Time
//! comes in as an argument. The order of the actions is what makes a stop after any of them harmless:
//!
//! - The marker, which holds the config from before, is on the disk before the new config is.
//! - A revert is in force before it is in the file, and in the file before the marker goes.
//! - Removing the marker is what confirms, and only what is confirmed and runs is archived.

mod event;
mod start;
mod work;

use std::collections::VecDeque;

use peerup_model::Now;

use crate::pending::Pending;

pub use self::{
    event::{Confirmer, Event, RevertReason},
    start::Found,
};
use self::{
    start::Start,
    work::{Apply, ApplyStep, Revert, RevertStep, Work},
};

/// First pause before a revert that the disk refused is tried again; each further one is twice as long.
const FIRST_PAUSE_MS: u64 = 1_000;
/// The longest pause: a disk that has room again should not wait long for it.
const LONGEST_PAUSE_MS: u64 = 30_000;

/// One thing to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Keep a text that is about to be replaced, for whoever wrote it. May fail.
    SetAside(String),
    /// Add a text to the last good ones.
    Archive(String),
    /// Write the marker.
    Mark(Box<Pending>),
    /// Remove the marker; one that is not there is removed.
    Unmark,
    /// Put a text in the place of the config file.
    Replace(String),
    /// Have the node run with this text: start it, or change what runs.
    Enforce(String),
}

/// A config to apply. It was read and checked already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The new text.
    pub text: String,
    /// The way back: what runs, or what is in the file where nothing runs.
    pub before: String,
    /// What is in the file where it is neither of the two, to be kept for whoever wrote it.
    pub set_aside: Option<String>,
    /// Whether the node runs with all that `before` says: only then it is archived.
    pub is_proven: bool,
    /// What reverts it; none applies it for good.
    pub pending: Option<Pending>,
}

/// How the config stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuardState {
    /// Nothing runs yet.
    Off,
    /// The file is in force.
    Settled,
    /// The file cannot be in force; the last good text is.
    Fallback {
        /// What is wrong with the file.
        why: String,
    },
    /// The file waits to be confirmed.
    Pending(Waiting),
    /// The config from before is in force, and the disk does not take it.
    Reverting {
        /// Why it came back.
        why: RevertReason,
        /// What the disk said.
        problem: String,
    },
}

/// A config that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What is in the marker.
    pub pending: Pending,
    /// When it reverts, on the clock of this boot.
    pub due_ms: u64,
    /// For each check why it was not met at the last try: none once it is met.
    pub unmet: Vec<Option<String>>,
}

/// The machine. One for each config file, driven by whoever runs the node.
#[derive(Debug)]
pub struct ConfigGuard {
    boot: Option<String>,
    state: GuardState,
    work: Work,
    action: Option<Action>,
    events: VecDeque<Event>,
}

impl ConfigGuard {
    /// A machine of which nothing runs yet. `boot` names this boot of the machine, where the system tells.
    pub fn new(boot: Option<String>) -> Self {
        Self {
            boot,
            state: GuardState::Off,
            work: Work::Idle,
            action: None,
            events: VecDeque::new(),
        }
    }

    /// Returns how the config stands.
    pub fn state(&self) -> &GuardState {
        &self.state
    }

    /// Returns whether something is being carried out.
    pub fn is_busy(&self) -> bool {
        !matches!(self.work, Work::Idle)
    }

    /// Returns what to carry out now. It is answered with [`ConfigGuard::handle_done`] before there is another.
    pub fn next_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// Returns what happened since, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`ConfigGuard::handle_timeout`] has something to do, on the clock of this boot.
    pub fn poll_timeout(&self) -> Option<u64> {
        match (&self.work, &self.state) {
            (Work::Idle, GuardState::Pending(waiting)) => Some(waiting.due_ms),
            (Work::Stuck { retry_ms, .. }, _) => Some(*retry_ms),
            _ => None,
        }
    }

    /// Begins with what the disk has: says with which text the node starts.
    pub fn handle_found(&mut self, found: Found, now: Now) {
        let start = Start::new(found, now, self.boot.as_deref());
        self.begin_start(start);
    }

    /// Takes what the disk has without starting anything: for a command beside no daemon.
    pub fn handle_found_at_rest(&mut self, found: &Found, now: Now) {
        self.state = match &found.pending {
            Some(pending) if found.config.as_ref() != Ok(&pending.before) => {
                GuardState::Pending(self.waiting(pending.clone(), now))
            }
            _ => GuardState::Settled,
        };
    }

    /// Applies a config.
    ///
    /// # Errors
    /// Another one waits, reverts, or is being applied.
    pub fn handle_apply(&mut self, application: Application) -> Result<(), Refused> {
        self.check_free()?;
        let mut pending = application.pending;
        if let Some(pending) = &mut pending {
            pending.before.clone_from(&application.before);
        }
        self.step_apply(Apply {
            archive: application.is_proven.then(|| application.before.clone()),
            set_aside: application.set_aside,
            before: application.before,
            after: application.text,
            pending,
            step: ApplyStep::SetAside,
        });
        Ok(())
    }

    /// Takes the word of a person: what waits is there to stay. `proven` is what runs, where that is all that its text
    /// says; it is archived.
    ///
    /// # Errors
    /// Nothing waits.
    pub fn handle_confirm(&mut self, proven: Option<String>) -> Result<(), Refused> {
        self.confirm(Confirmer::Person, proven)
    }

    /// Takes the outcome of one check of what waits. The last one that is met confirms.
    pub fn handle_check(&mut self, index: usize, outcome: Result<(), String>, proven: Option<String>) {
        let GuardState::Pending(waiting) = &mut self.state else {
            return;
        };
        if let Some(slot) = waiting.unmet.get_mut(index) {
            *slot = outcome.err();
        }
        if !waiting.unmet.is_empty() && waiting.unmet.iter().all(Option::is_none) {
            // Busy only where a person was faster.
            let _ = self.confirm(Confirmer::Checks, proven);
        }
    }

    /// Reverts what waits, now. `file` is the text that goes.
    ///
    /// # Errors
    /// Nothing waits.
    pub fn handle_revert(&mut self, file: Option<String>) -> Result<(), Refused> {
        if self.is_busy() {
            return Err(Refused::Busy);
        }
        let GuardState::Pending(waiting) = &self.state else {
            return Err(Refused::NothingPending);
        };
        let before = waiting.pending.before.clone();
        self.begin_revert(before, file, RevertReason::Asked);
        Ok(())
    }

    /// Does what is due. `file` is the text in the file, which goes where that is a revert.
    pub fn handle_timeout(&mut self, file: Option<String>, now: Now) {
        if let Work::Stuck { revert, retry_ms, .. } = &self.work {
            if now.steady_ms >= *retry_ms {
                let revert = revert.clone();
                self.step_revert(revert);
            }
            return;
        }
        if self.is_busy() {
            return;
        }
        let GuardState::Pending(waiting) = &self.state else {
            return;
        };
        if now.steady_ms < waiting.due_ms {
            return;
        }
        let unmet = waiting.pending.checks.iter().zip(&waiting.unmet);
        let unmet: Vec<String> = unmet
            .filter_map(|(check, why)| why.as_ref().map(|why| format!("{check}: {why}")))
            .collect();
        let why = match unmet.is_empty() {
            true => RevertReason::Deadline,
            false => RevertReason::Checks(unmet),
        };
        let before = waiting.pending.before.clone();
        self.begin_revert(before, file, why);
    }

    /// Takes that the file was read again and is in force.
    pub fn handle_reloaded(&mut self) {
        if matches!(self.state, GuardState::Fallback { .. }) {
            self.state = GuardState::Settled;
        }
    }

    /// Takes what became of the last action.
    pub fn handle_done(&mut self, outcome: Result<(), String>, now: Now) {
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Idle | Work::Stuck { .. } => {}
            Work::Start(start) => self.start_done(start, outcome, now),
            Work::Apply(apply) => self.apply_done(apply, outcome, now),
            Work::Revert(revert) => self.revert_done(revert, outcome, now),
            Work::Confirm(by, proven) => self.confirm_done(by, proven, outcome),
            Work::Archive => {
                if let Err(why) = outcome {
                    self.events.push_back(Event::NotArchived(why));
                }
            }
        }
    }

    fn check_free(&self) -> Result<(), Refused> {
        match &self.state {
            GuardState::Pending(waiting) => Err(Refused::Pending(Box::new(waiting.pending.clone()))),
            GuardState::Reverting { .. } => Err(Refused::Busy),
            _ if self.is_busy() => Err(Refused::Busy),
            _ => Ok(()),
        }
    }

    fn act(&mut self, work: Work, action: Action) {
        self.work = work;
        self.action = Some(action);
    }

    fn waiting(&self, pending: Pending, now: Now) -> Waiting {
        let left = pending.left(now, self.boot.as_deref());
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Waiting {
            due_ms: now.steady_ms.saturating_add(left),
            unmet: vec![Some("not tried yet".to_owned()); pending.checks.len()],
            pending,
        }
    }

    fn confirm(&mut self, by: Confirmer, proven: Option<String>) -> Result<(), Refused> {
        match &self.state {
            _ if self.is_busy() => Err(Refused::Busy),
            GuardState::Pending(_) => {
                self.act(Work::Confirm(by, proven), Action::Unmark);
                Ok(())
            }
            _ => Err(Refused::NothingPending),
        }
    }

    fn confirm_done(&mut self, by: Confirmer, proven: Option<String>, outcome: Result<(), String>) {
        if let Err(why) = outcome {
            self.events.push_back(Event::NotConfirmed(why));
            return;
        }
        self.state = GuardState::Settled;
        self.events.push_back(Event::Confirmed(by));
        self.archive(proven);
    }

    fn archive(&mut self, text: Option<String>) {
        if let Some(text) = text {
            self.act(Work::Archive, Action::Archive(text));
        }
    }

    fn begin_revert(&mut self, before: String, file: Option<String>, why: RevertReason) {
        self.step_revert(Revert {
            set_aside: file.filter(|text| *text != before),
            before,
            why,
            is_refused_apply: false,
            archive: false,
            fallback: None,
            step: RevertStep::Enforce,
            pause_ms: FIRST_PAUSE_MS,
        });
    }
}

/// Why the machine did not take an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Another config waits to be confirmed.
    Pending(Box<Pending>),
    /// Something is being carried out.
    Busy,
    /// Nothing waits to be confirmed.
    NothingPending,
}
