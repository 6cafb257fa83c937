//! Tests of `pairing`.
