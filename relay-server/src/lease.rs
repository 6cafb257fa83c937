//! Reservation leases: who holds a reservation, from which network, until when.
//!
//! Pure: time and addresses come in as arguments. Driven by the rate limiter that the relay
//! behaviour asks for each reservation, and by the server when a connection closes. It exists because
//! libp2p counts renewals like new reservations (a full relay would evict the peers it serves) and
//! has no limit per network at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use multiaddr::{Multiaddr, Protocol};

/// Time that a lease outlives its reservation, so that a renewal that arrives late is still one.
const LEASE_GRACE: Duration = Duration::from_secs(30);

/// Where a peer connects from, as coarse as one customer of a provider usually is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
}

impl Network {
    /// Returns the network of an address; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6((u128::from(v6) >> 64) as u64),
        }
    }

    /// Returns the network of the first IP address in a multiaddr; `None` where there is none.
    pub fn of(address: &Multiaddr) -> Option<Self> {
        address.iter().find_map(|part| match part {
            Protocol::Ip4(v4) => Some(Self::of_ip(v4.into())),
            Protocol::Ip6(v6) => Some(Self::of_ip(v6.into())),
            _ => None,
        })
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The network, where the address has an IP address.
    pub network: Option<Network>,
    /// The AS number, where there is a table and it has one.
    pub asn: Option<u32>,
}

impl From<Option<Network>> for Origin {
    fn from(network: Option<Network>) -> Self {
        Self { network, asn: None }
    }
}

/// How many reservations there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLimits {
    /// Peers with a reservation at the same time.
    pub total: usize,
    /// Peers with a reservation from the same [`Network`].
    pub per_network: usize,
    /// Peers with a reservation from the same AS number.
    pub per_asn: usize,
    /// How long one reservation holds without a renewal.
    pub duration: Duration,
}

/// What a granted request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The peer had no lease.
    New,
    /// The peer had one, which now lasts longer.
    Renewed,
}

/// Which limit a reservation ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseRefused {
    /// All reservations of the relay are taken.
    #[error("all {limit} reservations are taken (resources.max_reservations)")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// All reservations of that AS number are taken.
    #[error("AS {asn} holds {limit} reservations already (resources.max_reservations_per_asn)")]
    AsnFull {
        /// The AS number.
        asn: u32,
        /// The limit.
        limit: usize,
    },
    /// All reservations of that IP address, or IPv6 /64, are taken.
    #[error("its network holds {limit} reservations already (resources.max_reservations_per_ip)")]
    NetworkFull {
        /// The limit.
        limit: usize,
    },
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    origin: Origin,
    until: Instant,
}

/// The leases of one relay; at most `total` of them, one for each peer.
#[derive(Debug)]
pub struct Leases {
    limits: LeaseLimits,
    held: HashMap<PeerId, Lease>,
}

impl Leases {
    /// Creates an empty set.
    pub fn new(limits: LeaseLimits) -> Self {
        Self {
            limits,
            held: HashMap::new(),
        }
    }

    /// Replaces the limits. Leases that are held stay, also those that new limits would refuse.
    pub fn set_limits(&mut self, limits: LeaseLimits) {
        self.limits = limits;
    }

    /// Grants or renews the lease of a peer that asks from `origin`.
    ///
    /// A peer that holds a lease keeps it however full the relay is. One that moved to another
    /// network, or AS number, has to fit in there.
    ///
    /// # Errors
    ///
    /// Names the limit that is used up; an existing lease then stays as it was.
    pub fn request(
        &mut self,
        peer: PeerId,
        origin: impl Into<Origin>,
        now: Instant,
    ) -> Result<Grant, LeaseRefused> {
        let origin = origin.into();
        self.expire(now);
        let before = self.held.get(&peer).copied();
        let LeaseLimits {
            total,
            per_network,
            per_asn,
            duration,
        } = self.limits;
        if before.is_none() && self.held.len() >= total {
            return Err(LeaseRefused::Full { limit: total });
        }
        let moved = before.is_none_or(|lease| lease.origin.network != origin.network);
        if let Some(network) = origin.network.filter(|_| moved)
            && self.held_from(network) >= per_network
        {
            return Err(LeaseRefused::NetworkFull { limit: per_network });
        }
        // A peer that stayed where it was keeps its lease, also when a new table puts it elsewhere.
        let crossed = moved && before.is_none_or(|lease| lease.origin.asn != origin.asn);
        if let Some(asn) = origin.asn.filter(|_| crossed)
            && self.held_in(asn) >= per_asn
        {
            return Err(LeaseRefused::AsnFull { asn, limit: per_asn });
        }
        let until = now + duration + LEASE_GRACE;
        self.held.insert(peer, Lease { origin, until });
        Ok(if before.is_some() {
            Grant::Renewed
        } else {
            Grant::New
        })
    }

    /// Gives the lease of a peer back, when its last connection has closed.
    pub fn release(&mut self, peer: &PeerId) {
        self.held.remove(peer);
    }

    /// Returns how many peers hold a lease at `now`.
    pub fn count(&mut self, now: Instant) -> usize {
        self.expire(now);
        self.held.len()
    }

    fn held_from(&self, network: Network) -> usize {
        self.held
            .values()
            .filter(|lease| lease.origin.network == Some(network))
            .count()
    }

    fn held_in(&self, asn: u32) -> usize {
        let leases = self.held.values();
        leases.filter(|lease| lease.origin.asn == Some(asn)).count()
    }

    fn expire(&mut self, now: Instant) {
        self.held.retain(|_, lease| lease.until > now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn leases(total: usize, per_network: usize) -> Leases {
        Leases::new(LeaseLimits {
            total,
            per_network,
            per_asn: usize::MAX,
            duration: HOUR,
        })
    }

    fn network(last: u8) -> Option<Network> {
        Some(Network::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn a_full_relay_refuses_a_new_peer_and_renews_an_old_one() {
        let (now, old, new) = (Instant::now(), PeerId::random(), PeerId::random());
        let mut leases = leases(1, 9);

        assert_eq!(leases.request(old, network(1), now), Ok(Grant::New));
        assert_eq!(
            leases.request(new, network(2), now),
            Err(LeaseRefused::Full { limit: 1 })
        );
        assert_eq!(leases.request(old, network(1), now), Ok(Grant::Renewed));
    }

    #[test]
    fn a_network_holds_no_more_than_its_share() {
        let now = Instant::now();
        let mut leases = leases(9, 2);
        let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();

        assert!(leases.request(peers[0], network(1), now).is_ok());
        assert!(leases.request(peers[1], network(1), now).is_ok());
        assert_eq!(
            leases.request(peers[2], network(1), now),
            Err(LeaseRefused::NetworkFull { limit: 2 })
        );
        assert!(leases.request(peers[2], network(2), now).is_ok());
    }

    #[test]
    fn an_as_number_holds_no_more_than_its_share_over_all_its_networks() {
        let now = Instant::now();
        let mut leases = Leases::new(LeaseLimits {
            total: 9,
            per_network: 9,
            per_asn: 2,
            duration: HOUR,
        });
        let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
        let from = |last, asn| Origin {
            network: network(last),
            asn,
        };

        assert!(leases.request(peers[0], from(1, Some(64496)), now).is_ok());
        assert!(leases.request(peers[1], from(2, Some(64496)), now).is_ok());
        assert_eq!(
            leases.request(peers[2], from(3, Some(64496)), now),
            Err(LeaseRefused::AsnFull { asn: 64496, limit: 2 })
        );
        assert!(leases.request(peers[2], from(4, Some(64497)), now).is_ok());
        // It would move into the one that is full.
        assert!(leases.request(peers[2], from(3, Some(64496)), now).is_err());
        // A new table changes nothing for who stayed.
        assert_eq!(
            leases.request(peers[2], from(4, Some(64496)), now),
            Ok(Grant::Renewed)
        );
    }

    #[test]
    fn lower_limits_take_nothing_away() {
        let now = Instant::now();
        let mut leases = leases(3, 3);
        let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
        leases.request(peers[0], network(1), now).unwrap();
        leases.request(peers[1], network(2), now).unwrap();
        leases.set_limits(LeaseLimits {
            total: 1,
            per_network: 1,
            per_asn: 1,
            duration: HOUR,
        });
        assert_eq!(leases.request(peers[1], network(2), now), Ok(Grant::Renewed));
        assert!(leases.request(peers[2], network(3), now).is_err());
    }

    #[test]
    fn a_lease_that_moves_into_a_full_network_stays_where_it_was() {
        let now = Instant::now();
        let mut leases = leases(9, 1);
        let (one, two) = (PeerId::random(), PeerId::random());
        leases.request(one, network(1), now).unwrap();
        leases.request(two, network(2), now).unwrap();

        assert!(leases.request(two, network(1), now).is_err());
        assert_eq!(leases.request(two, network(2), now), Ok(Grant::Renewed));
    }

    #[test]
    fn addresses_of_one_ipv6_subnet_are_one_network() {
        let one = Network::of(&"/ip6/2001:db8:1:2::1/tcp/1".parse().unwrap());
        let two = Network::of(&"/ip6/2001:db8:1:2:ffff::9/udp/1/quic-v1".parse().unwrap());
        let other = Network::of(&"/ip6/2001:db8:1:3::1/tcp/1".parse().unwrap());

        assert!(one.is_some());
        assert_eq!(one, two);
        assert_ne!(one, other);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_the_same_network() {
        assert_eq!(
            Network::of(&"/ip6/::ffff:192.0.2.1/tcp/1".parse().unwrap()),
            Network::of(&"/ip4/192.0.2.1/tcp/1".parse().unwrap())
        );
    }

    #[test]
    fn a_lease_ends_with_its_time_and_with_its_connection() {
        let now = Instant::now();
        let mut leases = leases(1, 9);
        let (one, two) = (PeerId::random(), PeerId::random());
        leases.request(one, network(1), now).unwrap();

        assert!(leases.request(two, network(2), now + HOUR + LEASE_GRACE).is_ok());
        leases.release(&two);
        assert_eq!(leases.count(now), 0);
    }

    proptest! {
        #[test]
        fn no_order_of_requests_exceeds_a_limit(
            steps in prop::collection::vec((0usize..12, 0u8..4, 0u64..7200, any::<bool>()), 1..120),
            total in 1usize..6,
            per_network in 1usize..4,
        ) {
            let peers: Vec<_> = (0..12).map(|_| PeerId::random()).collect();
            let mut now = Instant::now();
            let mut leases = leases(total, per_network);
            for (peer, from, advance, close) in steps {
                now += Duration::from_secs(advance);
                let held = { leases.expire(now); leases.held.get(&peers[peer]).map(|l| l.origin.network) };
                if close {
                    leases.release(&peers[peer]);
                } else {
                    let answer = leases.request(peers[peer], network(from), now);
                    if held == Some(network(from)) {
                        prop_assert_eq!(answer, Ok(Grant::Renewed));
                    }
                }
                prop_assert!(leases.held.len() <= total);
                for last in 0..4 {
                    prop_assert!(leases.held_from(network(last).unwrap()) <= per_network);
                }
            }
        }
    }
}
