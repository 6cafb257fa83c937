//! Running one scenario against one plugin, on a runtime of its own whose clock is paused.

use std::time::Duration;

use serde::Serialize;
use tokio::{runtime, time::Instant};

use crate::{scenario::Scenario, steps, subject::Subject, trace::TraceLine, world::World};

/// What came of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Whether everything was as expected.
    pub passed: bool,
    /// What was not: before the first step, or after the last.
    pub failure: Option<String>,
    /// The steps that were taken, up to the first that failed.
    pub steps: Vec<StepOutcome>,
    /// What the plugins called, oldest first.
    pub calls: Vec<TraceLine>,
    /// Calls that were left out, because there were too many.
    pub calls_left_out: u64,
    /// How much time passed in the scenario, in milliseconds.
    pub passed_ms: u64,
}

/// What came of one step.
#[derive(Debug, Clone, Serialize)]
pub struct StepOutcome {
    /// What was done.
    pub title: String,
    /// What was not as expected.
    pub failure: Option<String>,
}

/// Runs a scenario. Blocks until it is over; call it away from other runtimes' threads.
pub fn run(scenario: &Scenario, subject: &Subject) -> Outcome {
    let built = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::failed(format!("no runtime: {error}")),
    };
    let outcome = runtime.block_on(play(scenario, subject));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

impl Outcome {
    fn failed(failure: String) -> Self {
        Self {
            passed: false,
            failure: Some(failure),
            steps: Vec::new(),
            calls: Vec::new(),
            calls_left_out: 0,
            passed_ms: 0,
        }
    }
}

async fn play(scenario: &Scenario, subject: &Subject) -> Outcome {
    let data = match tempfile::tempdir() {
        Ok(data) => data,
        Err(error) => return Outcome::failed(format!("no folder for what the plugin stores: {error}")),
    };
    let start = Instant::now();
    let mut world = match World::new(scenario, subject, data.path()).await {
        Ok(world) => world,
        Err(reason) => return Outcome::failed(reason),
    };
    let mut outcome = Outcome::failed(String::new());
    let mut failed = false;
    for step in &scenario.steps {
        let failure = steps::take(&mut world, step).await.err();
        failed = failure.is_some();
        let title = step.title();
        outcome.steps.push(StepOutcome { title, failure });
        if failed {
            break;
        }
    }
    let passed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    steps::settle().await;
    let service = world.failed_service().await;
    let trace = world.trace.clone();
    let ended = world.end().await.err();
    let (calls, left_out) = trace.take();
    let failure = service.or(ended);
    Outcome {
        passed: !failed && failure.is_none(),
        failure,
        calls,
        calls_left_out: left_out,
        passed_ms: passed,
        ..outcome
    }
}
