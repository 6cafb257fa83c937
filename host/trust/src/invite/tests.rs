//! Tests of `invite`.
