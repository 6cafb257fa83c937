//! The secret of an invite and the one-time identity that it gives.

use std::fmt;

use hkdf::Hkdf;
use libp2p_identity::{Keypair, ed25519};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    identity::keypair_from_seed,
    random::{RandomError, random_bytes},
};

/// Length of a token, in bytes.
pub const TOKEN_BYTES: usize = 16;

const ONE_TIME_INFO: &[u8] = b"peerup/invite/2 joiner";

/// The secret of an invite. Wiped when dropped, compared in constant time, never printed.
#[derive(Clone)]
pub struct Token([u8; TOKEN_BYTES]);

impl Token {
    /// Creates a token from bytes that are as good as random.
    pub fn from_bytes(bytes: [u8; TOKEN_BYTES]) -> Self {
        Self(bytes)
    }

    /// Creates a random token.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        random_bytes().map(|bytes| Self(*bytes))
    }

    /// Returns the secret bytes.
    pub fn as_bytes(&self) -> &[u8; TOKEN_BYTES] {
        &self.0
    }

    /// Derives the identity under which the joiner of this invite dials: an Ed25519 key whose seed is
    /// HKDF-SHA256 of the token with the inviter's public key as the salt.
    pub fn one_time_keypair(&self, inviter: &ed25519::PublicKey) -> Keypair {
        let mut seed = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(&inviter.to_bytes()), &self.0)
            .expand(ONE_TIME_INFO, &mut seed[..])
            .expect("HKDF-SHA256 gives up to 8160 bytes and 32 are asked for");
        keypair_from_seed(seed)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
