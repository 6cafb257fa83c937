//! Types and client of the daemon API.
