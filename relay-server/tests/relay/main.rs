//! A relay in this process and real clients over loopback: who may do what, and for how long.

mod admission;
mod client;
mod limits;
mod membership;
mod setting;
