//! Everything that decides who gets what of this relay, in one place behind one lock.
//!
//! Asked by the relay's rate limiters and the circuit guard from within the swarm's poll, and by the
//! admit protocol; each question is answered from memory at once. Membership itself is the shared access
//! policy; this holds leases, admissions and enrolment counts.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libp2p::{PeerId, relay};
use multiaddr::{Multiaddr, Protocol};
use peerup_config::RelayResources;
use peerup_net::PolicyHandle;
use peerup_trust::Role;

use crate::admission::{AdmissionRefused, Admissions, Enrolments};
use crate::asn::AsnTable;
use crate::guard::CircuitRules;
use crate::lease::{LeaseRefused, Leases, Network, Origin};
use crate::limits;
use crate::metrics::{Meters, Refusal};

/// Circuits that an admitted peer may have open: one, and one more while a lost one has not timed out.
const MAX_GUEST_CIRCUITS: usize = 2;

/// The rules of one relay.
#[derive(Debug)]
pub(crate) struct Rules {
    policy: PolicyHandle,
    meters: Arc<Meters>,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    leases: Leases,
    /// Which AS number an address belongs to, where the operator gave a table.
    asn: Option<Arc<AsnTable>>,
    admissions: Admissions,
    enrolments: Enrolments,
}

impl Rules {
    pub(crate) fn new(
        policy: PolicyHandle,
        resources: &RelayResources,
        asn: Option<Arc<AsnTable>>,
        meters: Arc<Meters>,
    ) -> Arc<Self> {
        let book = Book {
            leases: Leases::new(limits::lease_limits(resources)),
            asn,
            admissions: Admissions::new(),
            enrolments: Enrolments::new(),
        };
        Arc::new(Self {
            policy,
            meters,
            book: Mutex::new(book),
        })
    }

    /// Returns libp2p's relay config, which asks these rules.
    pub(crate) fn relay_config(self: &Arc<Self>, resources: &RelayResources) -> relay::Config {
        let (reserve, connect) = (Arc::clone(self), Arc::clone(self));
        limits::relay_config(
            resources,
            Box::new(move |peer, from: &Multiaddr, now| reserve.may_reserve(peer, from, now)),
            Box::new(move |peer, _: &Multiaddr, now| connect.may_open(&peer, now)),
        )
    }

    /// Puts other limits of reservations in force. Those that are held stay.
    pub(crate) fn set_limits(&self, resources: &RelayResources, asn: Option<Arc<AsnTable>>) {
        let mut book = self.book();
        book.leases.set_limits(limits::lease_limits(resources));
        book.asn = asn;
    }

    /// Returns how many peers hold a reservation, and how many are admitted.
    pub(crate) fn counts(&self, now: Instant) -> (usize, usize) {
        let mut book = self.book();
        (book.leases.count(now), book.admissions.guests().count())
    }

    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        matches!(self.policy.role(peer), Some(Role::Member(_)))
    }

    /// See [`Admissions::admit`].
    pub(crate) fn admit(
        &self,
        member: PeerId,
        guest: PeerId,
        ttl: Duration,
        now: Instant,
    ) -> Result<Instant, AdmissionRefused> {
        self.book().admissions.admit(member, guest, ttl, now)
    }

    /// See [`Enrolments::count`].
    pub(crate) fn count_enrolment(&self, member: PeerId, now: Instant) -> Result<(), AdmissionRefused> {
        self.book().enrolments.count(member, now)
    }

    /// Ends the admissions that are over, those of members that are none any more, and those of peers that
    /// became members. Returns whether there were any.
    pub(crate) fn review_admissions(&self, now: Instant) -> bool {
        let mut book = self.book();
        let before = book.admissions.guests().count();
        book.admissions.expire(now);
        let members: Vec<PeerId> = book.admissions.members().collect();
        for member in members.iter().filter(|member| !self.is_member(member)) {
            book.admissions.withdraw(member);
        }
        let guests: Vec<PeerId> = book.admissions.guests().map(|(guest, _)| guest).collect();
        for guest in guests.iter().filter(|guest| self.is_member(guest)) {
            book.admissions.forget(guest);
        }
        book.admissions.guests().count() != before
    }

    /// Returns the peers that are admitted at `now`, each with the time that is left.
    pub(crate) fn guests(&self, now: Instant) -> Vec<(PeerId, Duration)> {
        let left = |until: Instant| until.saturating_duration_since(now);
        let book = self.book();
        let guests = book
            .admissions
            .guests()
            .map(|(guest, until)| (guest, left(until)));
        guests.filter(|(_, left)| !left.is_zero()).collect()
    }

    fn may_reserve(&self, peer: PeerId, from: &Multiaddr, now: Instant) -> bool {
        if !self.is_member(&peer) {
            self.meters.count_refusal(Refusal::ReservationNotMember);
            tracing::warn!(%peer, "reservation refused: not a member");
            return false;
        }
        let mut book = self.book();
        let origin = Origin {
            network: Network::of(from),
            asn: book
                .asn
                .as_ref()
                .zip(ip_of(from))
                .and_then(|(table, ip)| table.find(ip)),
        };
        let answer = book.leases.request(peer, origin, now);
        drop(book);
        match answer {
            Ok(grant) => {
                self.meters.count_grant(grant);
                tracing::debug!(%peer, ?grant, "reservation");
                true
            }
            Err(refused) => {
                self.meters.count_refusal(match refused {
                    LeaseRefused::Full { .. } => Refusal::ReservationFull,
                    LeaseRefused::NetworkFull { .. } => Refusal::ReservationPerIp,
                    LeaseRefused::AsnFull { .. } => Refusal::ReservationPerAsn,
                });
                tracing::warn!(%peer, %from, "reservation refused: {refused}; raise the limit or ask the peer to use another relay");
                false
            }
        }
    }

    fn may_open(&self, peer: &PeerId, now: Instant) -> bool {
        let may = self.is_member(peer) || self.book().admissions.destination(peer, now).is_some();
        if !may {
            self.meters.count_refusal(Refusal::CircuitNotMember);
        }
        may
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing in here stops halfway: the book is whole even after a panic elsewhere.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CircuitRules for Rules {
    fn may_connect(&self, source: &PeerId, destination: &PeerId, open: usize) -> bool {
        if self.is_member(source) {
            return true;
        }
        let admitted_for = self.book().admissions.destination(source, Instant::now());
        let may = admitted_for.as_ref() == Some(destination) && open < MAX_GUEST_CIRCUITS;
        if !may {
            self.meters.count_refusal(Refusal::CircuitNotAdmitted);
        }
        may
    }

    fn peer_gone(&self, peer: &PeerId) {
        self.book().leases.release(peer);
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}
