//! Stands in where peerup is built without the feature `oci`.

use std::path::Path;

use peerup_model::Failure;

use super::{failed, fetch::Fetched};
use crate::context::Context;

#[expect(clippy::unused_async, reason = "it stands in for one that waits")]
pub(super) async fn pull(_: &Context, source: &str) -> Result<Fetched, Failure> {
    Err(without(source))
}

#[expect(clippy::unused_async, reason = "it stands in for one that waits")]
pub(super) async fn publish(_: &Context, _: &Path, reference: &str) -> Result<(), Failure> {
    Err(without(reference))
}

fn without(what: &str) -> Failure {
    failed(format!("{what}: this peerup is built without registries"))
        .with_hint("get the file in another way and install that, or build peerup with the feature `oci`")
}
