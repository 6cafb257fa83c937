//! A relay server's config, resolved: defaults filled in, paths absolute to the config's folder.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::{
    node::{NetworkConfig, SecurityConfig, network_config, security_config},
    operate::{LogConfig, health_config, log_config},
    raw::{RawRelay, RawResources},
    values::{self, Reader, at},
};

const DEFAULT_LISTEN: [&str; 4] = [
    "/ip4/0.0.0.0/tcp/7777",
    "/ip4/0.0.0.0/udp/7777/quic-v1",
    "/ip6/::/tcp/7777",
    "/ip6/::/udp/7777/quic-v1",
];
/// Most that a count may be set to; far above what one machine serves.
const MAX_COUNT: u32 = 1_000_000;

/// Everything that a relay server is told by its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The identity key. Default `identity.key` beside the config.
    pub key_file: PathBuf,
    /// Where it listens and what it announces.
    pub network: NetworkConfig,
    /// Who may use it.
    pub security: SecurityConfig,
    /// Who may have further peers admitted.
    pub enrollment: Enrollment,
    /// What it gives away at most.
    pub resources: RelayResources,
    /// Where it answers health checks and scrapes; none is nowhere.
    pub health: Option<SocketAddr>,
    /// Where and how much it logs.
    pub log: LogConfig,
}

/// Who may have further peers admitted to the relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Enrollment {
    /// Every member: a peer that pairs with a member becomes one.
    #[default]
    Members,
    /// Only entries with `role=admin`.
    Admins,
    /// Nobody; the operator authorises each peer by hand.
    Closed,
}

impl FromStr for Enrollment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "members" => Ok(Self::Members),
            "admins" => Ok(Self::Admins),
            "closed" => Ok(Self::Closed),
            _ => Err(format!("{text:?} is none of members, admins and closed")),
        }
    }
}

impl std::fmt::Display for Enrollment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Members => "members",
            Self::Admins => "admins",
            Self::Closed => "closed",
        })
    }
}

/// What a relay gives away at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayResources {
    /// Reservations in all.
    pub max_reservations: u32,
    /// Reservations from one IP address; an IPv6 /64 counts as one.
    pub max_reservations_per_ip: u32,
    /// Reservations from one AS number. Counts only with a table.
    pub max_reservations_per_asn: u32,
    /// The table that says which addresses belong to which AS number.
    pub asn_table: Option<PathBuf>,
    /// Circuits in all.
    pub max_circuits: u32,
    /// Circuits of one peer.
    pub max_circuits_per_peer: u32,
    /// How long a reservation holds before it has to be renewed.
    pub reservation_ttl: Duration,
    /// How long one circuit may last; none for no limit.
    pub session_duration: Option<Duration>,
    /// Bytes that one circuit may carry in each direction; none for no limit.
    pub session_data_limit: Option<u64>,
}

impl Default for RelayResources {
    fn default() -> Self {
        Self {
            max_reservations: 128,
            max_reservations_per_ip: 8,
            max_reservations_per_asn: 32,
            asn_table: None,
            max_circuits: 1024,
            max_circuits_per_peer: 16,
            reservation_ttl: Duration::from_secs(3600),
            session_duration: Some(Duration::from_secs(600)),
            session_data_limit: Some(64 << 20),
        }
    }
}

/// Resolves what the file says; everything wrong is in the reader afterwards.
pub(crate) fn resolve(raw: RawRelay, reader: &mut Reader<'_>) -> RelayConfig {
    let key_file = raw.identity.unwrap_or_default().key_file;
    let network = raw.network.unwrap_or_default();
    let enrollment = raw
        .enrollment
        .and_then(|text| reader.take(at!["enrollment"], values::parsed(&text)));
    RelayConfig {
        key_file: reader.file(at!["identity", "key_file"], key_file, "identity.key"),
        network: network_config(
            network.listen_addresses,
            network.external_addresses,
            &DEFAULT_LISTEN,
            reader,
        ),
        security: security_config(raw.security.unwrap_or_default(), reader),
        enrollment: enrollment.unwrap_or_default(),
        resources: resources(raw.resources.unwrap_or_default(), reader),
        health: health_config(raw.health, reader),
        log: log_config(raw.log, reader),
    }
}

fn resources(raw: RawResources, reader: &mut Reader<'_>) -> RelayResources {
    let default = RelayResources::default();
    let per_peer_is_given = raw.max_circuits_per_peer.is_some();
    let total_is_given = raw.max_circuits.is_some();
    let resources = RelayResources {
        max_reservations: reader.count(
            at!["resources", "max_reservations"],
            raw.max_reservations,
            default.max_reservations,
            MAX_COUNT,
        ),
        max_reservations_per_ip: reader.count(
            at!["resources", "max_reservations_per_ip"],
            raw.max_reservations_per_ip,
            default.max_reservations_per_ip,
            MAX_COUNT,
        ),
        max_reservations_per_asn: reader.count(
            at!["resources", "max_reservations_per_asn"],
            raw.max_reservations_per_asn,
            default.max_reservations_per_asn,
            MAX_COUNT,
        ),
        asn_table: reader.optional_file(at!["resources", "asn_table"], raw.asn_table),
        max_circuits: reader.count(
            at!["resources", "max_circuits"],
            raw.max_circuits,
            default.max_circuits,
            MAX_COUNT,
        ),
        max_circuits_per_peer: reader.count(
            at!["resources", "max_circuits_per_peer"],
            raw.max_circuits_per_peer,
            default.max_circuits_per_peer,
            MAX_COUNT,
        ),
        reservation_ttl: reader.duration(
            at!["resources", "reservation_ttl"],
            raw.reservation_ttl,
            default.reservation_ttl,
        ),
        session_duration: session_duration(raw.session_duration, &default, reader),
        session_data_limit: session_data_limit(raw.session_data_limit, &default, reader),
    };
    // In configs of the Go original the same key is the limit of one peer.
    if total_is_given && !per_peer_is_given && resources.max_circuits <= resources.max_circuits_per_peer {
        reader.warning(
            at!["resources", "max_circuits"],
            "this is the number for the whole relay; the one for each peer is max_circuits_per_peer",
        );
    }
    resources
}

fn session_duration(
    text: Option<String>,
    default: &RelayResources,
    reader: &mut Reader<'_>,
) -> Option<Duration> {
    let Some(text) = text else {
        return default.session_duration;
    };
    let found = reader.take(at!["resources", "session_duration"], values::duration(&text));
    found.filter(|duration| !duration.is_zero())
}

fn session_data_limit(
    text: Option<String>,
    default: &RelayResources,
    reader: &mut Reader<'_>,
) -> Option<u64> {
    let Some(text) = text else {
        return default.session_data_limit;
    };
    let found = reader.take(at!["resources", "session_data_limit"], values::size(&text));
    found.filter(|bytes| *bytes != 0)
}
