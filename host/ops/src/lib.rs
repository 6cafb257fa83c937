//! What a process that runs for months owes its operator, the same for daemon and relay.
//!
//! [`notify`](notify_ready) tells the service manager how the process is; [`Watchdog`] decides, without a clock of its
//! own, when it may say that all is well, and [`watch`] carries that out from a thread that shares nothing with what
//! it observes; [`start_log`] writes the log where it belongs and keeps a flood from filling the disk; [`Sheet`] and
//! [`ScrapePlace`] answer Prometheus; a config that nobody confirms goes back: [`Guarded`]; [`Signals`] and [`accept_own`] are how a process is
//! spoken to.

mod accept;
mod activation;
mod allocator;
mod config_command;
mod config_guard;
mod flood;
mod install;
mod journal;
mod log;
mod log_file;
mod log_place;
mod metrics;
mod notify;
mod process;
mod rotated;
mod scrape;
mod scrape_place;
mod signals;
mod slim;
mod watch;
mod watchdog;

pub use accept::{AcceptBounds, accept_own};
pub use activation::{ActivationError, inherited_listener};
pub use allocator::Allocator;
pub use config_command::{
    ConfigOf, config_in_words, config_status_lines, follow_config, last_good_rows, plan_lines, state_at_rest,
    unmet_in_words, who_asks,
};
pub use config_guard::{
    Attempt, GuardCell, Guarded, HeldGuard, apply_config, choose_config, config_problem, config_state,
    config_status, confirm_config, last_good, no_generation_failure, read_trial, refused_failure, rfc3339,
    roll_back_config, time_over_failure, watch_config,
};
pub use flood::lines_left_out;
pub use install::{Finding, Installer, Manager, Scope, Service, User};
pub use log::{AlsoLog, FileLog, FilterFor, LogControl, LogError, LogGuard, LogOptions, start_log};
pub use metrics::{Kind, Metric, Sheet, markdown};
pub use notify::{notify_ready, notify_reloading, notify_status, notify_stopping, watchdog_timeout};
pub use process::{PROCESS_METRICS, add_process};
pub use rotated::RotatedFile;
pub use scrape::METRICS_TYPE;
pub use scrape_place::ScrapePlace;
pub use signals::{Asked, Signals};
pub use slim::let_go_of_the_start;
pub use watch::{Observer, Watch, watch};
pub use watchdog::{Action, Plan, Watchdog};
