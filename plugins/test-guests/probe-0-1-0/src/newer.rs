//! What contract 0.1.0 has beyond itself: nothing.

use crate::bindings::peerup::plugin::types::Error;

/// Makes no call.
#[expect(clippy::unused_async, reason = "the other version waits")]
pub(crate) async fn perform(call: &str, _: &str) -> Result<String, Error> {
    Err(Error::Invalid(format!("contract 0.1.0 has no {call}")))
}
