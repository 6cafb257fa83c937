//! The pre-flight: loads a component into an engine of its own, as a daemon would, and tells how long that took.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use peerup_engine::{
    Duplex, Engine, EngineConfig, Host, HostError, Limits, PeerDetails, PeerEvent, PluginSpec,
};
use peerup_model::{Failure, Grants, PathPolicy, PluginName};
use peerup_package::{Finding, Manifest, Severity};
use serde::Serialize;
use tokio::sync::broadcast;

use super::failed;

/// Instances that are made; the middle one counts.
const TRIES: usize = 5;
/// Most that the config can give an instance.
const MAX_MEMORY_BYTES: usize = 256 << 20;
/// A compiled plugin is kept, so this is waited for once on each machine.
const SLOW_COMPILE: Duration = Duration::from_secs(10);
/// Each stream has an instance of its own.
const SLOW_INSTANCE: Duration = Duration::from_millis(100);

/// What a start costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Start {
    /// Compiling it, which the daemon does once.
    compile_ms: u64,
    /// Making an instance, which happens for each stream and each run.
    instance_us: u64,
    /// Memory of an instance before it has done anything.
    memory_bytes: u64,
}

impl Start {
    /// Says it in a few words.
    pub(super) fn told(self) -> String {
        let instance = Duration::from_micros(self.instance_us);
        format!(
            "compiled in {} ms, an instance in {instance:?} with {}",
            self.compile_ms,
            crate::output::bytes(self.memory_bytes)
        )
    }

    /// Says what is far off. The times are of this machine, so the budgets are generous.
    pub(super) fn findings(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let warning = |message: String, why: &str| Finding::new(Severity::Warning, "start", message, why);
        if Duration::from_millis(self.compile_ms) > SLOW_COMPILE {
            let message = format!("compiling it takes {} ms", self.compile_ms);
            findings.push(warning(
                message,
                "the first start on each machine waits so long; a smaller component compiles faster",
            ));
        }
        if Duration::from_micros(self.instance_us) > SLOW_INSTANCE {
            let message = format!("making an instance takes {} ms", self.instance_us / 1000);
            findings.push(warning(
                message,
                "every stream and every run of a command waits so long",
            ));
        }
        let usual = Limits::default().memory_bytes as u64;
        if self.memory_bytes > usual {
            let message = format!(
                "an instance begins with {}, more than the {} that a plugin gets",
                crate::output::bytes(self.memory_bytes),
                crate::output::bytes(usual)
            );
            findings.push(warning(
                message,
                "it does not start unless the operator writes limits: {memory: ...}; say so in its README",
            ));
        }
        findings
    }
}

/// Loads a component and makes instances of it. Fails with the reason where this host cannot run it.
pub(super) async fn start(manifest: &Manifest, wasm: Vec<u8>) -> Result<Start, Failure> {
    let engine = Engine::new(EngineConfig {
        max_instances: 1,
        max_memory_bytes: MAX_MEMORY_BYTES,
        ..EngineConfig::default()
    })
    .map_err(|error| failed(error.to_string()))?;
    let spec = PluginSpec {
        manifest: manifest.clone(),
        wasm: Cow::Owned(wasm),
        grants: Grants::default(),
        settings: "{}".to_owned(),
        limits: Limits {
            memory_bytes: MAX_MEMORY_BYTES,
            ..Limits::default()
        },
    };
    let refused = |text: String| {
        failed(text).with_hint("build it for the contract of this peerup: peerup version names it")
    };
    let begin = Instant::now();
    let plugin = engine
        .load(spec, Arc::new(Nobody))
        .await
        .map_err(|error| refused(error.to_string()))?;
    let compile = begin.elapsed();
    let mut taken = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let begin = Instant::now();
        plugin.check().await.map_err(|error| refused(error.to_string()))?;
        taken.push(begin.elapsed());
    }
    taken.sort();
    let memory_bytes = plugin.stats().memory_peak;
    engine.shut_down(Duration::ZERO).await;
    let whole = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
    Ok(Start {
        compile_ms: whole(compile.as_millis()),
        instance_us: whole(taken.get(TRIES / 2).copied().unwrap_or_default().as_micros()),
        memory_bytes,
    })
}

/// A host without a network. Nothing is called, so nobody hears of it.
struct Nobody;

fn nobody() -> HostError {
    HostError::Unreachable("there is no network here".to_owned())
}

impl Host for Nobody {
    fn open<'a>(
        &'a self,
        _: &'a PluginName,
        _: &'a str,
        _: &'a str,
        _: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>> {
        Box::pin(async { Err(nobody()) })
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>> {
        Box::pin(async { Err(nobody()) })
    }

    fn describe<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<PeerDetails, HostError>> {
        Box::pin(async { Err(nobody()) })
    }

    fn connected(&self) -> BoxFuture<'_, Result<Vec<PeerDetails>, HostError>> {
        Box::pin(async { Err(nobody()) })
    }

    fn subscribe(&self) -> Result<broadcast::Receiver<PeerEvent>, HostError> {
        Err(nobody())
    }

    fn find_name(&self, _: &str) -> Result<Option<PeerId>, HostError> {
        Err(nobody())
    }

    fn names(&self) -> Result<Vec<(String, PeerId)>, HostError> {
        Err(nobody())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_far_off_is_told() {
        let start = |compile_ms, instance_us, memory_bytes| Start {
            compile_ms,
            instance_us,
            memory_bytes,
        };
        assert_eq!(start(10_000, 100_000, 16 << 20).findings(), []);
        for slow in [
            start(10_001, 1, 1),
            start(1, 100_001, 1),
            start(1, 1, (16 << 20) + 1),
        ] {
            assert_eq!(slow.findings().len(), 1, "{slow:?}");
        }
    }
}
