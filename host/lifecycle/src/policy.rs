//! The times and counts of a plugin's life.

use std::time::Duration;

/// The times and counts that a plugin's life keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long streams and the service of a plugin that ends may go on before they are cancelled. 30 s.
    pub drain: Duration,
    /// How long loading may take, and the check after it. 120 s each: a large plugin on a small machine compiles long.
    pub load: Duration,
    /// The first waiting time before a service is started again. 1 s.
    pub restart_first: Duration,
    /// The longest such time, a jitter of a quarter apart. 60 s.
    pub restart_cap: Duration,
    /// Failures of a service within [`Self::window`] that open the circuit. 5.
    pub failures: usize,
    /// The time over which failures are counted. A service that ran this long counts as well again. 10 min.
    pub window: Duration,
    /// How long the circuit stays open before one trial. 10 min.
    pub cool_down: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            load: Duration::from_secs(120),
            restart_first: Duration::from_secs(1),
            restart_cap: Duration::from_secs(60),
            failures: 5,
            window: Duration::from_secs(600),
            cool_down: Duration::from_secs(600),
        }
    }
}
