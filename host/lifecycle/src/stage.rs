//! Where a plugin is in its life, in the words of `plugin list`.

use std::fmt;

/// Where a plugin is in its life. Streams are accepted only in [`Stage::Active`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It is being compiled and linked.
    Loading,
    /// It is loaded, and checks itself before it gets a stream.
    Ready,
    /// It gets streams. A newer version may be loading meanwhile.
    Active,
    /// It gets no new streams; what runs has some time to end.
    Draining,
    /// Nothing of it runs.
    Stopped,
    /// It is wanted and cannot run; the reason is kept.
    Failed,
}

impl Stage {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
