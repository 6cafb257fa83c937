//! Random bytes from the operating system, and what is said when there are none.

use zeroize::Zeroizing;

/// The operating system gives no random bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes: {0}")]
pub struct RandomError(String);

/// Returns fresh random bytes, wiped when dropped.
pub(crate) fn random_bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut bytes[..]).map_err(|failure| RandomError(failure.to_string()))?;
    Ok(bytes)
}

/// Returns a fresh nonce for one pairing.
///
/// # Errors
/// The system gives no random bytes.
pub fn fresh_nonce() -> Result<[u8; 32], RandomError> {
    random_bytes::<32>().map(|bytes| *bytes)
}
