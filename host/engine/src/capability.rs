//! What a plugin can import, one module for each interface of the contract. Every check of a grant is in
//! `access`, none here.

mod log;
mod names;
mod output;
mod peers;
mod pump;
mod settings;
mod streams;
mod tcp;
