//! The machine itself: one plugin from the operator's wish to its end.
//!
//! At most one generation is routed, at most one is being loaded to take its place, and those that had streams before
//! are leaving. A service runs in one generation at a time: the new one waits until the old one's has ended, because
//! both may want the same port.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    breaker::{Breaker, Verdict},
    command::{Command, Event, Generation, LoadFailure, Manner, Run, ServiceEnd, Traits},
    policy::Policy,
    stage::Stage,
};

/// Generations that drain while another one may become active; past these a new one waits until one has ended, so that
/// reloads in a row neither pile up nor cut a stream short. Disabling adds one at most.
const MAX_LEAVING: usize = 4;

/// The state machine of one plugin's life. `Source` is whatever the driver loads from.
#[derive(Debug)]
pub struct Lifecycle<Source> {
    policy: Policy,
    source: Source,
    wanted: bool,
    removed: bool,
    candidate: Option<Candidate<Source>>,
    active: Option<Active>,
    leaving: Vec<Leaving>,
    failure: Option<Failure>,
    breaker: Breaker,
    last_generation: u64,
    last_run: u64,
    commands: VecDeque<Command<Source>>,
    stage: Stage,
    since: Instant,
    restarts: u64,
    traps: u64,
    last_error: Option<String>,
    swap_failure: Option<(Generation, String)>,
}

/// A generation that is to be active.
#[derive(Debug)]
struct Candidate<Source> {
    generation: Generation,
    source: Source,
    phase: Phase,
    deadline: Instant,
    /// One failure of its service opens the circuit again.
    trial: bool,
    /// The settings changed since it was asked for.
    settings_changed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Loading,
    Checking(Traits),
    /// It passed its check and waits for one that drains to end.
    Passed(Traits),
}

/// The generation that has the streams.
#[derive(Debug)]
struct Active {
    generation: Generation,
    traits: Traits,
    service: Service,
    /// Until then one failure opens the circuit.
    trial_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Service {
    /// The plugin has none.
    None,
    /// The one of an older generation still runs.
    Blocked,
    Running {
        run: Run,
        since: Instant,
    },
    /// It was asked to end, to begin again with other settings.
    Stopping {
        run: Run,
        deadline: Instant,
    },
    Waiting {
        until: Instant,
    },
    /// It has nothing to do any more.
    Finished,
}

/// A generation whose streams may end by themselves.
#[derive(Debug)]
struct Leaving {
    generation: Generation,
    deadline: Instant,
    service: Option<Run>,
    streams: bool,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    retry_at: Option<Instant>,
    /// The circuit is open: what is tried is a trial.
    circuit: bool,
}

impl<Source: Clone> Lifecycle<Source> {
    /// Starts stopped and not wanted. `seed`: a random number, which spreads the restarts of services.
    pub fn new(source: Source, policy: Policy, seed: u64, now: Instant) -> Self {
        Self {
            policy,
            source,
            wanted: false,
            removed: false,
            candidate: None,
            active: None,
            leaving: Vec::new(),
            failure: None,
            breaker: Breaker::new(seed),
            last_generation: 0,
            last_run: 0,
            commands: VecDeque::new(),
            stage: Stage::Stopped,
            since: now,
            restarts: 0,
            traps: 0,
            last_error: None,
            swap_failure: None,
        }
    }

    /// Takes the operator's wish that it run. One that failed is tried again, with its circuit closed.
    pub fn handle_enable(&mut self, now: Instant) {
        if self.removed || (self.wanted && self.failure.is_none()) {
            return;
        }
        if !self.wanted {
            self.wanted = true;
            self.report(Event::Enabled);
        }
        match &mut self.candidate {
            // The operator's word closes the circuit.
            Some(candidate) => candidate.trial = false,
            None => {
                self.breaker.reset();
                self.load(self.source.clone(), false, now);
            }
        }
        self.note(now);
    }

    /// Takes the operator's wish that it not run: no stream is accepted from now on. Asking for [`Manner::Now`] after
    /// [`Manner::Drain`] cancels what drains.
    pub fn handle_disable(&mut self, manner: Manner, now: Instant) {
        if self.wanted {
            self.wanted = false;
            self.report(Event::Disabled);
        }
        self.failure = None;
        if let Some(candidate) = self.candidate.take() {
            self.commands.push_back(Command::Cancel {
                generation: candidate.generation,
            });
            // What was told last counts when it is enabled again.
            self.source = candidate.source;
        }
        self.retire_active(manner, now);
        if manner == Manner::Now {
            for leaving in std::mem::take(&mut self.leaving) {
                self.commands.push_back(Command::Cancel {
                    generation: leaving.generation,
                });
            }
        }
        self.note(now);
    }

    /// Takes the operator's wish to load it afresh, in place of what runs. Does nothing where it is not enabled.
    pub fn handle_reload(&mut self, now: Instant) {
        if !self.wanted {
            return;
        }
        let source = match &self.candidate {
            Some(candidate) => candidate.source.clone(),
            None => self.source.clone(),
        };
        self.replace(source, now);
    }

    /// Takes another version. What runs goes on until the new one is active; where nothing runs the new one counts at
    /// once.
    pub fn handle_upgrade(&mut self, source: Source, now: Instant) {
        if self.active.is_none() {
            self.source = source.clone();
        }
        if self.wanted {
            self.replace(source, now);
        } else {
            self.source = source;
        }
    }

    /// Sets how long what runs may take to end. What drains already keeps its time.
    pub fn set_drain(&mut self, drain: Duration) {
        self.policy.drain = drain;
    }

    /// Takes new settings. A service that does not hear of them through `life` is started again.
    pub fn handle_settings_changed(&mut self, now: Instant) {
        if let Some(candidate) = &mut self.candidate {
            candidate.settings_changed = true;
        }
        let drain = self.policy.drain;
        if let Some(active) = &mut self.active {
            let generation = active.generation;
            self.commands.push_back(Command::ApplySettings { generation });
            match active.service {
                Service::Running { run, .. } if !active.traits.takes_settings => {
                    let deadline = now + drain;
                    active.service = Service::Stopping { run, deadline };
                    self.commands.push_back(Command::StopService {
                        generation,
                        run,
                        deadline,
                    });
                }
                Service::Finished => self.start_service(now),
                _ => {}
            }
        } else if self.failure.is_some() && self.candidate.is_none() {
            // The settings may be what was wrong.
            self.replace(self.source.clone(), now);
        }
        self.note(now);
    }

    /// Takes the loss of a grant that it cannot do without. It is tried again when the operator acts.
    pub fn handle_revoked(&mut self, reason: &str, manner: Manner, now: Instant) {
        if !self.wanted {
            return;
        }
        if let Some(candidate) = self.candidate.take() {
            self.commands.push_back(Command::Cancel {
                generation: candidate.generation,
            });
            self.source = candidate.source;
        }
        self.retire_active(manner, now);
        self.fail(reason.to_owned(), None, false);
        self.note(now);
    }

    /// Takes the end of the plugin in this node: disabled, and never enabled again.
    pub fn handle_remove(&mut self, manner: Manner, now: Instant) {
        if !self.removed {
            self.removed = true;
            self.report(Event::Removed);
        }
        self.handle_disable(manner, now);
    }

    /// Takes a load that worked. A generation that nobody waits for any more is cancelled.
    pub fn handle_loaded(&mut self, generation: Generation, traits: Traits, now: Instant) {
        let deadline = now + self.policy.load;
        let is_live = self.is_live(generation);
        match &mut self.candidate {
            Some(candidate) if candidate.generation == generation => {
                if matches!(candidate.phase, Phase::Loading) {
                    candidate.phase = Phase::Checking(traits);
                    candidate.deadline = deadline;
                    self.commands.push_back(Command::Check { generation });
                }
            }
            _ if !is_live => self.commands.push_back(Command::Cancel { generation }),
            _ => {}
        }
        self.note(now);
    }

    /// Takes a load that did not work.
    pub fn handle_load_failed(&mut self, generation: Generation, failure: LoadFailure, now: Instant) {
        if matches!(self.phase_of(generation), Some(Phase::Loading)) {
            self.fail_candidate(failure, now);
        }
    }

    /// Takes a check that was passed: the generation is active from now on, and the one before drains.
    pub fn handle_checked(&mut self, generation: Generation, now: Instant) {
        if let Some(candidate) = &mut self.candidate
            && candidate.generation == generation
            && let Phase::Checking(traits) = candidate.phase
        {
            candidate.phase = Phase::Passed(traits);
            candidate.deadline = now + self.policy.load;
            self.promote(now);
        }
        self.note(now);
    }

    /// Takes a check that was not passed.
    pub fn handle_check_failed(&mut self, generation: Generation, failure: LoadFailure, now: Instant) {
        if matches!(self.phase_of(generation), Some(Phase::Checking(_))) {
            self.fail_candidate(failure, now);
        }
    }

    /// Takes the end of a service's run. Runs that are over already are ignored.
    pub fn handle_service_ended(&mut self, generation: Generation, run: Run, end: ServiceEnd, now: Instant) {
        match &mut self.active {
            Some(active) if active.generation == generation => match active.service {
                Service::Running { run: current, since } if current == run => {
                    self.end_service(run, end, now.saturating_duration_since(since), now);
                }
                // It was asked to end, so how it did is no failure.
                Service::Stopping { run: current, .. } if current == run => self.start_service(now),
                _ => {}
            },
            _ => {
                for leaving in &mut self.leaving {
                    if leaving.generation == generation && leaving.service == Some(run) {
                        leaving.service = None;
                    }
                }
                self.settle_leaving(now);
            }
        }
        self.note(now);
    }

    /// Takes the trap of an instance. One stream ended by it; it opens no circuit, or a peer could do that at will.
    pub fn handle_trapped(&mut self, generation: Generation, reason: &str, now: Instant) {
        if !self.is_live(generation) {
            return;
        }
        self.traps += 1;
        self.last_error = Some(reason.to_owned());
        self.report(Event::Trapped {
            generation,
            reason: reason.to_owned(),
        });
        self.note(now);
    }

    /// Takes the end of the last stream and command of a generation that drains.
    pub fn handle_drained(&mut self, generation: Generation, now: Instant) {
        for leaving in &mut self.leaving {
            if leaving.generation == generation {
                leaving.streams = false;
            }
        }
        self.settle_leaving(now);
        self.note(now);
    }

    /// Acts on the passing of time. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_over = |deadline: Instant| now >= deadline;
        if let Some(candidate) = &self.candidate
            && is_over(candidate.deadline)
        {
            let what = match candidate.phase {
                Phase::Loading => "it did not load",
                Phase::Checking(_) => "it did not check itself",
                Phase::Passed(_) => "none that drains made room for it",
            };
            let failure = LoadFailure {
                reason: format!("{what} within {:?}", self.policy.load),
                lasting: false,
            };
            self.fail_candidate(failure, now);
        }
        self.cancel_leaving(|leaving| now >= leaving.deadline);
        self.settle_leaving(now);
        self.time_service(now);
        let is_due = |failure: &Failure| failure.retry_at.is_some_and(is_over);
        if self.candidate.is_none() && self.failure.as_ref().is_some_and(is_due) {
            let trial = self.failure.as_ref().is_some_and(|failure| failure.circuit);
            if trial {
                self.report(Event::CircuitTrial);
            }
            self.load(self.source.clone(), trial, now);
        }
        self.note(now);
    }

    /// Returns the next command to carry out.
    pub fn next_command(&mut self) -> Option<Command<Source>> {
        self.commands.pop_front()
    }

    /// Returns when [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let candidate = self.candidate.as_ref().map(|candidate| candidate.deadline);
        let leaving = self.leaving.iter().map(|leaving| leaving.deadline).min();
        let service = self.active.as_ref().and_then(|active| match active.service {
            Service::Stopping { deadline, .. } => Some(deadline),
            Service::Waiting { until } => Some(until),
            _ => None,
        });
        let trial = self.active.as_ref().and_then(|active| active.trial_until);
        let retry = match &self.candidate {
            Some(_) => None,
            None => self.failure.as_ref().and_then(|failure| failure.retry_at),
        };
        [candidate, leaving, service, trial, retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        if self.active.is_some() {
            return Stage::Active;
        }
        match &self.candidate {
            Some(candidate) if matches!(candidate.phase, Phase::Loading) => return Stage::Loading,
            Some(_) => return Stage::Ready,
            None => {}
        }
        match &self.failure {
            Some(_) => Stage::Failed,
            None if self.leaving.is_empty() => Stage::Stopped,
            None => Stage::Draining,
        }
    }

    /// Since when it is in this stage.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether the operator wants it to run.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether it was removed and nothing of it is left.
    pub fn is_gone(&self) -> bool {
        self.removed && self.stage() == Stage::Stopped
    }

    /// The generation that has the streams.
    pub fn active(&self) -> Option<Generation> {
        self.active.as_ref().map(|active| active.generation)
    }

    /// The generation that is being loaded or checked.
    pub fn candidate(&self) -> Option<Generation> {
        self.candidate.as_ref().map(|candidate| candidate.generation)
    }

    /// The last generation that was asked for.
    pub fn latest(&self) -> Generation {
        Generation(self.last_generation)
    }

    /// What is loaded when it is enabled or reloaded: the last good version while one runs.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Why it does not run, while it does not.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.reason.as_str())
    }

    /// The last generation that could not take the place of the active one, and why.
    pub fn swap_failure(&self) -> Option<(Generation, &str)> {
        self.swap_failure
            .as_ref()
            .map(|(generation, reason)| (*generation, reason.as_str()))
    }

    /// Whether its circuit is open.
    pub fn is_circuit_open(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.circuit)
    }

    /// How often its service was started again after a failure.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How many of its instances trapped, its service's too.
    pub fn traps(&self) -> u64 {
        self.traps
    }

    /// The last failure of any kind.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    fn is_live(&self, generation: Generation) -> bool {
        self.active() == Some(generation)
            || self.candidate() == Some(generation)
            || self
                .leaving
                .iter()
                .any(|leaving| leaving.generation == generation)
    }

    fn phase_of(&self, generation: Generation) -> Option<Phase> {
        let candidate = self.candidate.as_ref()?;
        (candidate.generation == generation).then_some(candidate.phase)
    }

    fn report(&mut self, event: Event) {
        self.commands.push_back(Command::Report(event));
    }

    /// Notes a change of the stage.
    fn note(&mut self, now: Instant) {
        let stage = self.stage();
        if stage == self.stage {
            return;
        }
        self.stage = stage;
        self.since = now;
        if stage == Stage::Stopped {
            self.report(Event::Stopped);
        }
    }

    /// Loads on the operator's word: what failed before does not count any more.
    fn replace(&mut self, source: Source, now: Instant) {
        if self.active.is_none() {
            self.breaker.reset();
            self.failure = None;
        }
        self.load(source, false, now);
        self.note(now);
    }

    fn load(&mut self, source: Source, trial: bool, now: Instant) {
        if let Some(older) = self.candidate.take() {
            self.commands.push_back(Command::Cancel {
                generation: older.generation,
            });
        }
        self.last_generation += 1;
        let generation = Generation(self.last_generation);
        self.candidate = Some(Candidate {
            generation,
            source: source.clone(),
            phase: Phase::Loading,
            deadline: now + self.policy.load,
            trial,
            settings_changed: false,
        });
        self.commands.push_back(Command::Load { generation, source });
    }

    fn fail_candidate(&mut self, failure: LoadFailure, now: Instant) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        let generation = candidate.generation;
        self.commands.push_back(Command::Cancel { generation });
        if self.active.is_some() {
            self.last_error = Some(failure.reason.clone());
            self.swap_failure = Some((generation, failure.reason.clone()));
            self.report(Event::SwapFailed {
                generation,
                reason: failure.reason,
            });
        } else {
            let retry_in = (!failure.lasting).then_some(self.policy.cool_down);
            self.fail(failure.reason, retry_in.map(|wait| (now, wait)), candidate.trial);
        }
        self.note(now);
    }

    fn fail(&mut self, reason: String, retry: Option<(Instant, Duration)>, circuit: bool) {
        self.last_error = Some(reason.clone());
        self.failure = Some(Failure {
            reason: reason.clone(),
            retry_at: retry.map(|(now, wait)| now + wait),
            circuit,
        });
        self.report(Event::Failed {
            reason,
            retry_in: retry.map(|(_, wait)| wait),
        });
    }

    /// Makes the candidate active, if it passed its check and there is room for the one before to drain.
    fn promote(&mut self, now: Instant) {
        if self.leaving.len() >= MAX_LEAVING {
            return;
        }
        let passed = |candidate: &mut Candidate<Source>| matches!(candidate.phase, Phase::Passed(_));
        let Some(candidate) = self.candidate.take_if(passed) else {
            return;
        };
        let traits = match candidate.phase {
            Phase::Passed(traits) | Phase::Checking(traits) => traits,
            Phase::Loading => Traits::default(),
        };
        let generation = candidate.generation;
        if candidate.settings_changed {
            self.commands.push_back(Command::ApplySettings { generation });
        }
        let replaced = self.active.take();
        self.commands.push_back(Command::Route { generation });
        self.report(Event::Activated {
            generation,
            replaced: replaced.as_ref().map(|active| active.generation),
        });
        if let Some(replaced) = replaced {
            self.leave(replaced, now);
        }
        if !candidate.trial {
            self.breaker.reset();
        }
        self.failure = None;
        self.source = candidate.source;
        self.active = Some(Active {
            generation,
            traits,
            service: if traits.service {
                Service::Blocked
            } else {
                Service::None
            },
            trial_until: candidate.trial.then(|| now + self.policy.window),
        });
        self.unblock_service(now);
    }

    /// Takes the streams from the active generation.
    fn retire_active(&mut self, manner: Manner, now: Instant) {
        let Some(active) = self.active.take() else {
            return;
        };
        self.commands.push_back(Command::Unroute);
        match manner {
            Manner::Drain => self.leave(active, now),
            Manner::Now => self.commands.push_back(Command::Cancel {
                generation: active.generation,
            }),
        }
    }

    fn leave(&mut self, active: Active, now: Instant) {
        let generation = active.generation;
        let deadline = now + self.policy.drain;
        let service = match active.service {
            Service::Running { run, .. } => {
                self.commands.push_back(Command::StopService {
                    generation,
                    run,
                    deadline,
                });
                Some(run)
            }
            // Asked already; it has no more time than it was given then.
            Service::Stopping { run, .. } => Some(run),
            _ => None,
        };
        self.commands.push_back(Command::Drain { generation, deadline });
        self.leaving.push(Leaving {
            generation,
            deadline,
            service,
            streams: true,
        });
    }

    fn cancel_leaving(&mut self, which: impl Fn(&Leaving) -> bool) {
        for leaving in std::mem::take(&mut self.leaving) {
            if which(&leaving) {
                let generation = leaving.generation;
                self.commands.push_back(Command::Cancel { generation });
                self.report(Event::DrainOver { generation });
            } else {
                self.leaving.push(leaving);
            }
        }
    }

    /// Drops those of which nothing is left, and lets the new service begin where the old one has ended.
    fn settle_leaving(&mut self, now: Instant) {
        for leaving in std::mem::take(&mut self.leaving) {
            if leaving.streams || leaving.service.is_some() {
                self.leaving.push(leaving);
            } else {
                self.commands.push_back(Command::Cancel {
                    generation: leaving.generation,
                });
            }
        }
        self.unblock_service(now);
        self.promote(now);
    }

    fn unblock_service(&mut self, now: Instant) {
        let is_blocked = matches!(
            &self.active,
            Some(Active {
                service: Service::Blocked,
                ..
            })
        );
        if is_blocked && self.leaving.iter().all(|leaving| leaving.service.is_none()) {
            self.start_service(now);
        }
    }

    fn start_service(&mut self, now: Instant) {
        let Some(active) = &mut self.active else { return };
        self.last_run += 1;
        let run = Run(self.last_run);
        active.service = Service::Running { run, since: now };
        self.commands.push_back(Command::StartService {
            generation: active.generation,
            run,
        });
    }

    fn end_service(&mut self, run: Run, end: ServiceEnd, lasted: Duration, now: Instant) {
        let reason = match end {
            ServiceEnd::Returned => {
                if let Some(active) = &mut self.active {
                    active.service = Service::Finished;
                }
                self.report(Event::ServiceReturned { run });
                return;
            }
            ServiceEnd::Failed(reason) => reason,
            ServiceEnd::Trapped(reason) => {
                self.traps += 1;
                reason
            }
        };
        self.last_error = Some(reason.clone());
        let on_trial = self
            .active
            .as_ref()
            .is_some_and(|active| active.trial_until.is_some());
        match self.breaker.handle_failure(lasted, &self.policy, now) {
            Verdict::Restart(restart_in) if !on_trial => {
                if let Some(active) = &mut self.active {
                    active.service = Service::Waiting {
                        until: now + restart_in,
                    };
                }
                self.report(Event::ServiceFailed {
                    run,
                    reason,
                    restart_in,
                });
            }
            _ => self.open_circuit(reason, now),
        }
    }

    fn open_circuit(&mut self, reason: String, now: Instant) {
        if let Some(active) = &mut self.active {
            // The run is over; there is nothing to stop.
            active.service = Service::Finished;
        }
        self.breaker.reset();
        self.retire_active(Manner::Drain, now);
        let retry_in = self.policy.cool_down;
        let text = format!("its service failed too often, the last time with: {reason}");
        self.last_error = Some(text.clone());
        self.failure = Some(Failure {
            reason: text,
            retry_at: Some(now + retry_in),
            circuit: true,
        });
        self.report(Event::CircuitOpened { reason, retry_in });
    }

    fn time_service(&mut self, now: Instant) {
        let Some(active) = &mut self.active else { return };
        if active.trial_until.is_some_and(|until| now >= until) {
            active.trial_until = None;
            self.breaker.reset();
            self.commands.push_back(Command::Report(Event::CircuitClosed));
        }
        match active.service {
            Service::Stopping { run, deadline } if now >= deadline => {
                self.commands.push_back(Command::CancelService {
                    generation: active.generation,
                    run,
                });
                self.start_service(now);
            }
            Service::Waiting { until } if now >= until => {
                self.start_service(now);
                self.restarts += 1;
                let run = Run(self.last_run);
                self.report(Event::ServiceRestarted { run });
            }
            _ => {}
        }
    }
}
