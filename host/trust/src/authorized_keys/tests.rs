//! Tests of `authorized_keys`.
