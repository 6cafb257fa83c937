//! Settings for tests that drive the real binaries: child processes whose output can be waited for,
//! polling with a deadline, a lab of network namespaces with NAT routers between the hosts, and links
//! with delay and loss.
//!
//! Development only. It knows no other crate of the workspace: what it starts is given to it as a
//! path, and what it sees is what a person at a terminal would see.

mod host;
mod impair;
mod lab;
mod process;
mod wait;

pub use host::Host;
pub use impair::{ImpairedLink, Impairment};
pub use lab::{Lab, NAT_A_ADDRESS, NAT_B_ADDRESS, RELAY_ADDRESS, Site};
pub use process::{Finished, Process, keep_logs, keeps_logs, run};
pub use wait::{interrupt, interrupted, poll};
