//! What is being carried out: applying and reverting, step by step, and what a failure of each step leads to.

use super::{
    Action, ConfigGuard, Confirmer, Event, GuardState, LONGEST_PAUSE_MS, RevertReason, start::Start,
};
use peerup_model::Now;

use crate::pending::Pending;

/// What the last action belongs to.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Idle,
    Start(Start),
    Apply(Apply),
    Revert(Revert),
    /// A revert that waits until the disk takes it.
    Stuck {
        revert: Revert,
        retry_ms: u64,
    },
    Confirm(Confirmer, Option<String>),
    Archive,
}

/// An apply under way. What is done is taken out of it.
#[derive(Debug, Clone)]
pub(super) struct Apply {
    pub(super) set_aside: Option<String>,
    pub(super) archive: Option<String>,
    pub(super) before: String,
    pub(super) after: String,
    pub(super) pending: Option<Pending>,
    pub(super) step: ApplyStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApplyStep {
    SetAside,
    Archive,
    Mark,
    Replace,
    Enforce,
}

/// A revert under way.
#[derive(Debug, Clone)]
pub(super) struct Revert {
    /// What the file has, to be kept for whoever wrote it.
    pub(super) set_aside: Option<String>,
    pub(super) before: String,
    pub(super) why: RevertReason,
    /// It takes back an apply that failed half-way.
    pub(super) is_refused_apply: bool,
    /// What comes back has just started, so it is archived.
    pub(super) archive: bool,
    /// Why a last good config runs, where even the one from before did not start.
    pub(super) fallback: Option<String>,
    pub(super) step: RevertStep,
    pub(super) pause_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RevertStep {
    Enforce,
    SetAside,
    Replace,
    Unmark,
}

impl ConfigGuard {
    /// Goes to the next step of an apply that has something to do.
    pub(super) fn step_apply(&mut self, mut apply: Apply) {
        let action = loop {
            let next = match apply.step {
                ApplyStep::SetAside => match apply.set_aside.take() {
                    Some(text) => break Action::SetAside(text),
                    None => ApplyStep::Archive,
                },
                ApplyStep::Archive => match apply.archive.take() {
                    Some(text) => break Action::Archive(text),
                    None => ApplyStep::Mark,
                },
                ApplyStep::Mark => match apply.pending.clone() {
                    Some(pending) => break Action::Mark(Box::new(pending)),
                    None => ApplyStep::Replace,
                },
                ApplyStep::Replace => break Action::Replace(apply.after.clone()),
                ApplyStep::Enforce => break Action::Enforce(apply.after.clone()),
            };
            apply.step = next;
        };
        self.act(Work::Apply(apply), action);
    }

    pub(super) fn apply_done(&mut self, mut apply: Apply, outcome: Result<(), String>, now: Now) {
        match (apply.step, outcome) {
            (ApplyStep::SetAside, _) => apply.step = ApplyStep::Archive,
            (ApplyStep::Archive, Ok(())) => apply.step = ApplyStep::Mark,
            (ApplyStep::Mark, Ok(())) => apply.step = ApplyStep::Replace,
            (ApplyStep::Replace, Ok(())) => apply.step = ApplyStep::Enforce,
            (ApplyStep::Archive, Err(why)) => {
                self.events.push_back(Event::NotApplied(why));
                return;
            }
            (ApplyStep::Mark, Err(why)) => {
                // It may be there all the same.
                self.take_back(apply, RevertReason::NotWritten(why), RevertStep::Unmark);
                return;
            }
            (ApplyStep::Replace, Err(why)) => {
                // It may be there all the same.
                self.take_back(apply, RevertReason::NotWritten(why), RevertStep::Replace);
                return;
            }
            (ApplyStep::Enforce, Err(why)) => {
                self.take_back(apply, RevertReason::NotEnforced(why), RevertStep::Enforce);
                return;
            }
            (ApplyStep::Enforce, Ok(())) => {
                self.state = match apply.pending {
                    Some(pending) => GuardState::Pending(self.waiting(pending, now)),
                    None => GuardState::Settled,
                };
                self.events.push_back(Event::Applied);
                return;
            }
        }
        self.step_apply(apply);
    }

    fn take_back(&mut self, apply: Apply, why: RevertReason, step: RevertStep) {
        self.step_revert(Revert {
            set_aside: None,
            before: apply.before,
            why,
            is_refused_apply: true,
            archive: false,
            fallback: None,
            step,
            pause_ms: super::FIRST_PAUSE_MS,
        });
    }

    /// Carries out the step that a revert is at.
    pub(super) fn step_revert(&mut self, mut revert: Revert) {
        if revert.step == RevertStep::SetAside && revert.set_aside.is_none() {
            revert.step = RevertStep::Replace;
        }
        let action = match revert.step {
            RevertStep::Enforce => Action::Enforce(revert.before.clone()),
            RevertStep::SetAside => Action::SetAside(revert.set_aside.clone().unwrap_or_default()),
            RevertStep::Replace => Action::Replace(revert.before.clone()),
            RevertStep::Unmark => Action::Unmark,
        };
        self.act(Work::Revert(revert), action);
    }

    pub(super) fn revert_done(&mut self, mut revert: Revert, outcome: Result<(), String>, now: Now) {
        match (revert.step, outcome) {
            (RevertStep::Enforce, outcome) => {
                if let Err(why) = outcome {
                    self.events.push_back(Event::RevertIncomplete(why));
                }
                revert.step = RevertStep::SetAside;
                self.step_revert(revert);
            }
            // A copy for whoever wrote it; the way back does not wait for it.
            (RevertStep::SetAside, _) => {
                revert.step = RevertStep::Replace;
                self.step_revert(revert);
            }
            (RevertStep::Replace, Ok(())) => {
                revert.step = RevertStep::Unmark;
                self.step_revert(revert);
            }
            (RevertStep::Replace | RevertStep::Unmark, Err(problem)) => {
                self.events.push_back(Event::RevertStuck(problem.clone()));
                self.state = GuardState::Reverting {
                    why: revert.why.clone(),
                    problem,
                };
                let retry_ms = now.steady_ms.saturating_add(revert.pause_ms);
                revert.pause_ms = revert.pause_ms.saturating_mul(2).min(LONGEST_PAUSE_MS);
                self.work = Work::Stuck { revert, retry_ms };
            }
            (RevertStep::Unmark, Ok(())) => self.reverted(revert),
        }
    }

    fn reverted(&mut self, revert: Revert) {
        self.events.push_back(match revert.is_refused_apply {
            true => Event::NotApplied(revert.why.to_string()),
            false => Event::Reverted(revert.why),
        });
        self.state = match revert.fallback {
            Some(why) => {
                self.events.push_back(Event::FellBack(why.clone()));
                GuardState::Fallback { why }
            }
            None => GuardState::Settled,
        };
        if revert.archive {
            self.archive(Some(revert.before));
        }
    }
}
