//! What can go wrong, one enum per operation.

use std::time::Duration;

use peerup_model::PluginName;

/// Why the engine could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The machine cannot give what the engine reserves, or a setting makes no sense.
    #[error("the WebAssembly engine cannot start: {0}")]
    Setup(String),
    /// The thread that drives CPU limits could not be started.
    #[error("the clock of the WebAssembly engine cannot start")]
    Ticker(#[source] std::io::Error),
}

/// Why a plugin could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It was built for a version of the contract that this host does not serve.
    #[error(
        "the plugin {plugin} needs contract {wanted}, and this host serves {served} and what is older of 0.1; install a version of the plugin or of peerup that fits"
    )]
    Contract {
        /// The plugin.
        plugin: PluginName,
        /// What its manifest names.
        wanted: String,
        /// What this host serves.
        served: &'static str,
    },
    /// The bytes are not a component, or do not compile.
    #[error("the plugin {plugin} is not a component that this host can compile: {reason}")]
    Compile {
        /// The plugin.
        plugin: PluginName,
        /// What the compiler says.
        reason: String,
    },
    /// It imports what this host does not offer; the reason names the first such import.
    #[error("the plugin {plugin} asks for something that this host does not offer: {reason}")]
    Import {
        /// The plugin.
        plugin: PluginName,
        /// The first import that does not match.
        reason: String,
    },
    /// It exports nothing that this host knows, or something in another shape.
    #[error("the plugin {plugin} cannot be used: {reason}")]
    Export {
        /// The plugin.
        plugin: PluginName,
        /// What is missing or wrong.
        reason: String,
    },
    /// A granted directory is missing, or is one that no plugin may have.
    #[error("the plugin {plugin} cannot start: {reason}")]
    Directory {
        /// The plugin.
        plugin: PluginName,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// Its settings are not a JSON object.
    #[error("the settings of the plugin {plugin} are not a JSON object")]
    Settings {
        /// The plugin.
        plugin: PluginName,
    },
}
/// What a call from a plugin is answered with instead of a result; what a plugin's export fails with.
/// Each text says what failed, on what, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No such peer, name or service.
    #[error("{0}")]
    NotFound(String),
    /// The peer or address cannot be reached now.
    #[error("{0}")]
    Unreachable(String),
    /// It was reached and said no.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// A bound of the host was met; the text names it.
    #[error("{0}")]
    Limit(String),
    /// The other side or the host ended it.
    #[error("{0}")]
    Closed(String),
    /// Not granted. The text names the line of YAML that would grant it.
    #[error("{0}")]
    Denied(String),
    /// The caller passed something that makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// How a run of a plugin failed. The streams that it held are reset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The plugin's own answer.
    #[error("{0}")]
    Guest(#[source] HostError),
    /// It crashed.
    #[error("the plugin {plugin} crashed: {reason}")]
    Trap {
        /// The plugin.
        plugin: PluginName,
        /// What it did.
        reason: String,
    },
    /// It used the CPU for too long without waiting for anything.
    #[error(
        "the plugin {plugin} was stopped: it used the CPU for {limit:?} without a pause; its limit is plugins.{plugin}.limits.cpu"
    )]
    Cpu {
        /// The plugin.
        plugin: PluginName,
        /// The bound it met.
        limit: Duration,
    },
    /// It crashed after asking for more memory than it may have.
    #[error(
        "the plugin {plugin} crashed: it asked for more than its {limit} bytes of memory; its limit is plugins.{plugin}.limits.memory"
    )]
    Memory {
        /// The plugin.
        plugin: PluginName,
        /// The bound it met, in bytes.
        limit: usize,
    },
    /// It neither returned nor moved a byte for too long.
    #[error(
        "the plugin {plugin} was stopped: it held a stream for {limit:?} without moving a byte or returning"
    )]
    Deadline {
        /// The plugin.
        plugin: PluginName,
        /// The bound it met.
        limit: Duration,
    },
    /// It did not answer in time.
    #[error("the plugin {plugin} was stopped: it did not answer within {limit:?}")]
    Slow {
        /// The plugin.
        plugin: PluginName,
        /// The bound it met.
        limit: Duration,
    },
    /// It cannot be started as things stand: a granted directory is missing, for example.
    #[error("the plugin {plugin} cannot start: {reason}")]
    Unready {
        /// The plugin.
        plugin: PluginName,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// A bound of the host was met before it ran; the text names the bound.
    #[error("{0}")]
    Limit(String),
    /// It may not do what it was asked to; the text names the line of YAML that would grant it.
    #[error("{0}")]
    Denied(String),
    /// It does not export what was asked for.
    #[error("the plugin {plugin} has no {what}")]
    NoExport {
        /// The plugin.
        plugin: PluginName,
        /// The interface: `inbound`, `command` and so on.
        what: &'static str,
    },
    /// The caller passed arguments that make no sense.
    #[error("{0}")]
    Invalid(String),
    /// The caller ended it.
    #[error("cancelled")]
    Cancelled,
    /// The host itself failed.
    #[error("the host could not run the plugin {plugin}: {reason}")]
    Host {
        /// The plugin.
        plugin: PluginName,
        /// What failed.
        reason: String,
    },
}
