//! What the host knows of peers and of the ways to them.
//!
//! Needs the grant `peers: [read]`; without it each call is [`Error::Denied`]. The host answers about a hundred calls
//! a second: those past that wait, and are [`Error::Limit`] where the wait gets long.

use std::time::Duration;

use crate::{Error, Path, Peer, bindings::peerup::plugin::peers as raw};

/// What a peer is to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It may use what this node offers.
    Member,
    /// It carries connections.
    Relay,
}

impl From<raw::Role> for Role {
    fn from(role: raw::Role) -> Self {
        match role {
            raw::Role::Member => Self::Member,
            raw::Role::Relay => Self::Relay,
        }
    }
}

/// A peer and the ways to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Who it is.
    pub peer: Peer,
    /// What it is to this node.
    pub role: Role,
    /// The way that a new stream would take first; none without a connection.
    pub path: Option<Path>,
    /// The round trip of that way, as the host last measured it.
    pub round_trip: Option<Duration>,
    /// How long ago it last answered on any connection, in whole seconds.
    pub last_answer: Option<Duration>,
    /// The one that a new stream would take comes first. At most 16.
    pub connections: Vec<Connection>,
}

impl From<raw::Details> for Details {
    fn from(details: raw::Details) -> Self {
        Self {
            peer: details.peer.into(),
            role: details.role.into(),
            path: details.path.map(Path::from),
            round_trip: details.round_trip.map(Duration::from_micros),
            last_answer: details.last_answer.map(Duration::from_secs),
            connections: details.connections.into_iter().map(Connection::from).collect(),
        }
    }
}

/// One connection to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The way that it takes.
    pub path: Path,
    /// The address of the other end as a multiaddr; over a relay it starts with the relay's. Only with the grant
    /// `peers: [read, addresses]`.
    pub address: Option<String>,
    /// The round trip, as the host last measured it.
    pub round_trip: Option<Duration>,
    /// How long ago the other end last answered, in whole seconds.
    pub last_answer: Option<Duration>,
    /// Streams in use.
    pub streams: u32,
    /// How long it has existed, in whole seconds.
    pub age: Duration,
}

impl From<raw::Connection> for Connection {
    fn from(connection: raw::Connection) -> Self {
        Self {
            path: connection.path.into(),
            address: connection.address,
            round_trip: connection.round_trip.map(Duration::from_micros),
            last_answer: connection.last_answer.map(Duration::from_secs),
            streams: connection.streams,
            age: Duration::from_secs(connection.age),
        }
    }
}

/// Tells about one peer: a name, a peer id, or a unique prefix of an id of at least eight characters.
///
/// A member without a connection is described as that; whoever is neither member nor relay is
/// [`Error::NotFound`].
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, Path, peers};
/// # async fn example() -> Result<(), Error> {
/// let home = peers::describe("home").await?;
/// if let Some(Path::Relayed(relay)) = home.path {
///     let round_trip = peers::describe(&relay.id).await?.round_trip;
/// }
/// # Ok(())
/// # }
/// ```
pub async fn describe(peer: &str) -> Result<Details, Error> {
    Ok(raw::describe(peer.to_owned()).await?.into())
}

/// Tells about every member and relay that there is a connection to. At most 1024.
///
/// ```no_run
/// # use peerup_plugin_sdk::{Error, log, peers};
/// # async fn example() -> Result<(), Error> {
/// for details in peers::connected().await? {
///     log::info(&details.peer.to_string());
/// }
/// # Ok(())
/// # }
/// ```
pub async fn connected() -> Result<Vec<Details>, Error> {
    Ok(raw::connected().await?.into_iter().map(Details::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Transport, bindings::peerup::plugin::types};

    #[test]
    fn a_description_has_times_as_durations_and_connections_in_order() {
        let peer = |id: &str, name: Option<&str>| types::Peer {
            id: id.to_owned(),
            name: name.map(str::to_owned),
        };
        let direct = types::Path::Direct(types::Transport::Quic);
        let relayed = types::Path::Relayed(peer("relay", None));
        let connection = |path, round_trip, address: Option<&str>| raw::Connection {
            path,
            address: address.map(str::to_owned),
            round_trip,
            last_answer: Some(3),
            streams: 2,
            age: 60,
        };

        let details = Details::from(raw::Details {
            peer: peer("id", Some("home")),
            role: raw::Role::Member,
            path: Some(direct.clone()),
            round_trip: Some(1_500),
            last_answer: None,
            connections: vec![
                connection(direct, Some(1_500), Some("/ip4/192.0.2.1/udp/1/quic-v1")),
                connection(relayed, None, None),
            ],
        });

        assert_eq!(details.peer.to_string(), "home");
        assert_eq!(details.role, Role::Member);
        assert_eq!(details.path, Some(Path::Direct(Transport::Quic)));
        assert_eq!(details.round_trip, Some(Duration::from_micros(1_500)));
        assert_eq!(details.last_answer, None);
        let [first, second] = details.connections.as_slice() else {
            panic!("two connections");
        };
        assert_eq!(first.address.as_deref(), Some("/ip4/192.0.2.1/udp/1/quic-v1"));
        assert_eq!((first.age, first.streams), (Duration::from_secs(60), 2));
        assert_eq!(second.path.to_string(), "RELAYED via relay");
        assert_eq!(
            (second.round_trip, second.last_answer),
            (None, Some(Duration::from_secs(3)))
        );
    }
}
