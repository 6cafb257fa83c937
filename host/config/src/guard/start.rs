//! The start: which text the node runs with, the file's first, and what becomes of the files then.

use std::collections::VecDeque;

use super::{
    Action, ConfigGuard, Event, GuardState, RevertReason,
    work::{Revert, RevertStep, Work},
};
use peerup_model::Now;

use crate::pending::Pending;

/// What the disk has when a node starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The text of the config file, or why it cannot be read.
    pub config: Result<String, String>,
    /// The marker.
    pub pending: Option<Pending>,
    /// The last good texts, newest first.
    pub generations: Vec<String>,
}

/// A start under way.
#[derive(Debug, Clone)]
pub(super) struct Start {
    config: Result<String, String>,
    marker: Option<Pending>,
    generations: VecDeque<String>,
    /// The marker is of an apply that stopped before it replaced the file.
    is_idle_marker: bool,
    /// Why the file is not to stay, once that is known.
    revert: Option<RevertReason>,
    tried: Vec<String>,
    trying: Trying,
    first_failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trying {
    Nothing,
    File,
    Before,
    Generation,
}

impl Start {
    pub(super) fn new(found: Found, now: Now, boot: Option<&str>) -> Self {
        let is_idle_marker = match (&found.pending, &found.config) {
            (Some(pending), Ok(text)) => pending.before == *text,
            _ => false,
        };
        let is_due = |pending: &Pending| pending.left(now, boot).is_zero();
        let revert = match &found.pending {
            Some(pending) if !is_idle_marker && is_due(pending) => Some(RevertReason::Deadline),
            _ => None,
        };
        Self {
            config: found.config,
            marker: found.pending,
            generations: found.generations.into(),
            is_idle_marker,
            revert,
            tried: Vec::new(),
            trying: Trying::Nothing,
            first_failure: None,
        }
    }

    /// Picks the text to try next; none twice.
    fn next(&mut self) -> Option<String> {
        if self.trying == Trying::Nothing && self.revert.is_none() {
            self.trying = Trying::File;
            match &self.config {
                Ok(text) => return Some(text.clone()),
                Err(why) => {
                    let why = why.clone();
                    self.failed(why);
                }
            }
        }
        if !matches!(self.trying, Trying::Before | Trying::Generation)
            && let Some(marker) = &self.marker
        {
            self.trying = Trying::Before;
            if !self.tried.contains(&marker.before) {
                return Some(marker.before.clone());
            }
        }
        self.trying = Trying::Generation;
        if self.generations.front() == self.config.as_ref().ok() {
            // The file is the newest that ran: what is wrong now is not the config, and an old one is no help.
            return None;
        }
        while let Some(text) = self.generations.pop_front() {
            let is_file = self.config.as_ref() == Ok(&text);
            if !self.tried.contains(&text) && !is_file {
                return Some(text);
            }
        }
        None
    }

    fn failed(&mut self, why: String) {
        if self.trying == Trying::File && self.marker.is_some() {
            self.revert = Some(RevertReason::CannotStart(why.clone()));
        }
        self.first_failure.get_or_insert(why);
    }
}

impl ConfigGuard {
    pub(super) fn begin_start(&mut self, start: Start) {
        match start.is_idle_marker {
            true => self.act(Work::Start(start), Action::Unmark),
            false => self.try_next(start),
        }
    }

    fn try_next(&mut self, mut start: Start) {
        match start.next() {
            Some(text) => {
                start.tried.push(text.clone());
                self.act(Work::Start(start), Action::Enforce(text));
            }
            None => {
                let why = start
                    .first_failure
                    .unwrap_or_else(|| "there is no config".to_owned());
                self.events.push_back(Event::CannotStart(why));
            }
        }
    }

    pub(super) fn start_done(&mut self, mut start: Start, outcome: Result<(), String>, now: Now) {
        if start.trying == Trying::Nothing {
            // Past here it says whether the marker is there still.
            start.is_idle_marker = outcome.is_err();
            start.marker = None;
            self.try_next(start);
            return;
        }
        if let Err(why) = outcome {
            start.failed(why);
            self.try_next(start);
            return;
        }
        let text = start.tried.last().cloned().unwrap_or_default();
        let why = start.first_failure.clone().unwrap_or_default();
        match (start.trying, start.marker, start.revert) {
            (Trying::File, Some(marker), _) => {
                self.state = GuardState::Pending(self.waiting(marker, now));
                self.events.push_back(Event::Started);
            }
            (Trying::File, None, _) if start.is_idle_marker => {
                self.events.push_back(Event::Started);
                self.step_revert(Revert {
                    set_aside: None,
                    before: text,
                    why: RevertReason::NotWritten("it was cut short".to_owned()),
                    is_refused_apply: true,
                    archive: true,
                    fallback: None,
                    step: RevertStep::Unmark,
                    pause_ms: super::FIRST_PAUSE_MS,
                });
            }
            (Trying::File, None, _) => {
                self.state = GuardState::Settled;
                self.events.push_back(Event::Started);
                self.archive(Some(text));
            }
            (trying, Some(marker), revert) => {
                let is_before = trying == Trying::Before;
                self.step_revert(Revert {
                    set_aside: start.config.ok(),
                    before: marker.before,
                    why: revert.unwrap_or(RevertReason::Deadline),
                    is_refused_apply: false,
                    archive: is_before,
                    fallback: (!is_before).then_some(why),
                    step: RevertStep::SetAside,
                    pause_ms: super::FIRST_PAUSE_MS,
                });
            }
            (_, None, _) => {
                self.events.push_back(Event::FellBack(why.clone()));
                self.state = GuardState::Fallback { why };
            }
        }
    }
}
