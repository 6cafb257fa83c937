//! Identity file, authorized_keys, access policy, invite codes and pairing proofs.
