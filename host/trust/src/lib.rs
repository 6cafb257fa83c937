//! Identity file, authorized_keys, access policy, invite codes and pairing proofs.
//!
//! Who this machine is, who may connect to it, and how two machines come to know each other. Decisions are
//! pure: time, nonces and tokens come in as arguments. Only `identity` and `key_file` touch the disk, and
//! nothing here touches the network.

mod admit;
mod authorized_keys;
mod file;
mod frame;
mod identity;
mod invite;
mod key_file;
mod pairing;
mod peer_text;
mod policy;
mod random;
mod record;
mod text;
mod token;

#[doc(hidden)]
pub mod fuzzing;

pub use admit::{AdmitError, AdmitRefusal, AdmitRequest, AdmitResponse};
pub use authorized_keys::{
    AuthorizedKeys, AuthorizedKeysError, Entry, EntryError, MAX_COMMENT, MAX_ENTRY_SERVICES, MAX_KEYS_BYTES,
    MAX_KEYS_ENTRIES, MAX_KEYS_LINE, MemberRole,
};
pub use frame::{FRAME_HEADER, FrameDecoder, FrameError, MAX_FRAME, encode_frame, frame_length};
pub use identity::{
    IDENTITY_FILE_BYTES, IdentityError, create_identity, load_identity, load_or_create_identity,
};
pub use invite::{
    Invite, InviteError, InviteRelay, MAX_CODE_TEXT, MAX_INVITE_ADDRESS, MAX_INVITE_RELAYS,
    minutes_to_timestamp, timestamp_to_minutes,
};
pub use key_file::{KeyFile, KeyFileError};
pub use pairing::{Inviter, InviterAwaitingAck, Joiner, Paired, PairingError, Refusal};
pub use peer_text::{PeerIdError, ed25519_key_of, parse_peer_id, peer_of_key};
pub use policy::{Access, AccessPolicy, Role};
pub use random::{RandomError, fresh_nonce};
pub use record::{
    AddressRecord, MAX_RECORD, MAX_RECORD_ADDRESS, MAX_RECORD_ADDRESSES, RECORD_TTL, RecordError, record_key,
};
pub use text::shell_word;
pub use token::{TOKEN_BYTES, Token};
