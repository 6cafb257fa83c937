//! A self-hosted circuit relay with admission.
