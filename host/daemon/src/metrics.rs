//! How the daemon tells Prometheus of everything.
//!
//! The table of metrics is in `table`; `collect` fills it for one scrape from the node, the plugins and the meters.

mod collect;
mod table;

pub(crate) use self::collect::{router, scrape};
pub use table::METRICS;
