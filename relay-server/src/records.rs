//! The relay as a server of the private DHT: which records it keeps, and whose.
//!
//! A peer may store one record, its own, which nobody else could have signed. The relay is alone in its table: it
//! asks no other server and tells of none. Called by the relay's actor with what libp2p reports.

use std::time::Instant;

use jiff::Timestamp;
use libp2p::kad::store::{Error as StoreError, MemoryStore, MemoryStoreConfig, RecordStore};
use libp2p::kad::{self, Record};
use libp2p::{PeerId, StreamProtocol};
use peerup_model::KAD_PROTOCOL;
use peerup_trust::{AddressRecord, MAX_RECORD, RECORD_TTL, RecordError, record_key};

/// Records that are kept: one for each of this many peers, 10 MiB in all.
const MAX_RECORDS: usize = 4096;
/// Longest message of the DHT's protocol, in bytes: a record, its key twice, and what goes around them.
const MAX_PACKET: usize = 4096;

/// Why a record is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordRefused {
    /// It stands under the key of another peer.
    #[error("a peer may store its own record only")]
    NotItsOwn,
    /// The peer did not make it, or it is over.
    #[error(transparent)]
    Bad(#[from] RecordError),
    /// There is a later one.
    #[error("there is a later record")]
    Older,
    /// There is no room.
    #[error("there is no room for another record: {0:?}")]
    Full(StoreError),
}

/// Makes the DHT's behaviour.
pub(crate) fn dht(local: PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(StreamProtocol::new(KAD_PROTOCOL));
    config
        .set_record_ttl(Some(RECORD_TTL.unsigned_abs()))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_max_packet_size(MAX_PACKET);
    let store = MemoryStoreConfig {
        max_records: MAX_RECORDS,
        // The store takes what is shorter than this.
        max_value_bytes: MAX_RECORD + 1,
        max_providers_per_key: 0,
        max_provided_keys: 0,
    };
    let mut dht = kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    dht.set_mode(Some(kad::Mode::Server));
    dht
}

/// Keeps a record that a member sends.
///
/// # Errors
///
/// It is not the member's own, does not hold, or is no news; then the store stays as it is.
pub(crate) fn keep(
    store: &mut MemoryStore,
    source: PeerId,
    record: Record,
    (now, wall): (Instant, Timestamp),
) -> Result<(), RecordRefused> {
    if record.key.as_ref() != record_key(&source) {
        return Err(RecordRefused::NotItsOwn);
    }
    let offered = AddressRecord::open(&source, &record.value, wall)?;
    // One that does not hold any more is no reason to refuse anything.
    let held = store
        .get(&record.key)
        .and_then(|held| AddressRecord::open(&source, &held.value, wall).ok());
    if held.is_some_and(|held| held.is_newer_than(&offered)) {
        return Err(RecordRefused::Older);
    }
    let record = Record {
        // Whoever sends a record may name anybody.
        publisher: None,
        expires: Some(now + RECORD_TTL.unsigned_abs()),
        ..record
    };
    if store.put(record.clone()).is_ok() {
        return Ok(());
    }
    // libp2p leaves expired records where they are until somebody asks for them.
    store.retain(|_, record| !record.is_expired(now));
    store.put(record).map_err(RecordRefused::Full)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use libp2p::identity::Keypair;
    use libp2p::kad::RecordKey;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn id(key: &Keypair) -> PeerId {
        key.public().to_peer_id()
    }

    fn record_of(key: &Keypair, seconds: i64) -> Record {
        let address = "/ip4/203.0.113.7/tcp/4001".parse().unwrap();
        let at = NOW + SignedDuration::from_secs(seconds);
        let value = AddressRecord::seal(key, &[address], at).unwrap();
        Record::new(RecordKey::new(&record_key(&id(key))), value)
    }

    fn store(max_records: usize) -> MemoryStore {
        let config = MemoryStoreConfig {
            max_records,
            ..MemoryStoreConfig::default()
        };
        MemoryStore::with_config(PeerId::random(), config)
    }

    #[test]
    fn keeps_a_peers_own_record_until_it_is_over() {
        let (key, now) = (Keypair::generate_ed25519(), Instant::now());
        let mut store = store(8);
        let mut sent = record_of(&key, 0);
        sent.publisher = Some(PeerId::random());
        sent.expires = Some(now + Duration::from_secs(1_000_000));
        keep(&mut store, id(&key), sent.clone(), (now, NOW)).unwrap();
        let kept = store.get(&sent.key).unwrap();
        assert_eq!(kept.value, sent.value);
        assert_eq!(kept.publisher, None);
        assert_eq!(kept.expires, Some(now + Duration::from_secs(1800)));
    }

    #[test]
    fn refuses_a_record_of_or_by_another_peer() {
        let (victim, attacker) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let mut store = store(8);
        let mut try_it = |record| keep(&mut store, id(&attacker), record, (Instant::now(), NOW)).unwrap_err();
        assert!(matches!(try_it(record_of(&victim, 0)), RecordRefused::NotItsOwn));
        // The victim's record under the attacker's key, and the other way round.
        let mut moved = record_of(&victim, 0);
        moved.key = record_of(&attacker, 0).key;
        assert!(matches!(try_it(moved), RecordRefused::Bad(_)));
        let mut forged = record_of(&attacker, 0);
        forged.key = record_of(&victim, 0).key;
        assert!(matches!(try_it(forged), RecordRefused::NotItsOwn));
        assert_eq!(store.records().count(), 0);
    }

    #[test]
    fn an_older_record_does_not_come_back() {
        let (key, now) = (Keypair::generate_ed25519(), Instant::now());
        let mut store = store(8);
        let old = record_of(&key, 0);
        keep(&mut store, id(&key), record_of(&key, 60), (now, NOW)).unwrap();
        let refused = keep(&mut store, id(&key), old.clone(), (now, NOW)).unwrap_err();
        assert!(matches!(refused, RecordRefused::Older));
        keep(&mut store, id(&key), record_of(&key, 61), (now, NOW)).unwrap();
        let late = NOW + SignedDuration::from_hours(1);
        let refused = keep(&mut store, id(&key), old, (now, late)).unwrap_err();
        assert!(matches!(refused, RecordRefused::Bad(RecordError::Expired)));
    }

    #[test]
    fn makes_room_by_what_is_over_and_only_by_that() {
        let [one, two] = [(); 2].map(|()| Keypair::generate_ed25519());
        let (now, mut store) = (Instant::now(), store(1));
        keep(&mut store, id(&one), record_of(&one, 0), (now, NOW)).unwrap();
        let refused = keep(&mut store, id(&two), record_of(&two, 0), (now, NOW)).unwrap_err();
        assert!(matches!(refused, RecordRefused::Full(StoreError::MaxRecords)));
        let later = (
            now + Duration::from_secs(1801),
            NOW + SignedDuration::from_secs(1801),
        );
        keep(&mut store, id(&two), record_of(&two, 1801), later).unwrap();
        assert_eq!(store.records().count(), 1);
    }
}
