//! Admissions: strangers that a member vouches for, each for one destination and a short time.
//!
//! Pure: time comes in as an argument. The server opens the gate for what this grants, and the relay
//! guard asks it for the one destination that an admitted peer may reach.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// Open admissions that one member may have: more than a person pairs at a time.
pub const MAX_ADMISSIONS_PER_MEMBER: usize = 16;
/// Open admissions of the whole relay, so that members together cannot fill its memory.
pub const MAX_ADMISSIONS: usize = 256;
/// The longest that an admission lasts: an invite that nobody uses in a day is made anew.
pub const MAX_ADMISSION_TTL: Duration = Duration::from_secs(24 * 3600);
/// Enrolments by one member within [`ENROLMENT_WINDOW`]: what a stolen member key can add at most.
pub const MAX_ENROLMENTS_PER_WINDOW: usize = 16;
/// The window of [`MAX_ENROLMENTS_PER_WINDOW`].
pub const ENROLMENT_WINDOW: Duration = Duration::from_secs(3600);

/// Why a member's wish to admit or enrol a peer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionRefused {
    /// The member has too many open admissions.
    #[error("the member has {MAX_ADMISSIONS_PER_MEMBER} open admissions already")]
    MemberFull,
    /// The relay has too many open admissions.
    #[error("the relay has {MAX_ADMISSIONS} open admissions already")]
    RelayFull,
    /// The time asked for is nothing, or more than [`MAX_ADMISSION_TTL`].
    #[error("an admission lasts between 1 s and 24 h; are both clocks right?")]
    BadTtl,
    /// Another member has admitted the same peer.
    #[error("another member has admitted this peer already")]
    HeldByAnother,
    /// The member enrolled too many peers within the window.
    #[error("the member enrolled {MAX_ENROLMENTS_PER_WINDOW} peers within an hour")]
    TooManyEnrolments,
}

#[derive(Debug, Clone, Copy)]
struct Admission {
    member: PeerId,
    until: Instant,
}

/// The open admissions of one relay, at most [`MAX_ADMISSIONS`].
#[derive(Debug, Default)]
pub struct Admissions {
    open: HashMap<PeerId, Admission>,
}

impl Admissions {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Admits `guest` for circuits to `member`, and returns when that ends. Repeating it moves the end.
    ///
    /// # Errors
    ///
    /// Names the bound that is used up, or the time that makes no sense.
    pub fn admit(
        &mut self,
        member: PeerId,
        guest: PeerId,
        ttl: Duration,
        now: Instant,
    ) -> Result<Instant, AdmissionRefused> {
        if ttl < Duration::from_secs(1) || ttl > MAX_ADMISSION_TTL {
            return Err(AdmissionRefused::BadTtl);
        }
        let live = |admission: &&Admission| admission.until > now;
        match self.open.get(&guest).filter(live) {
            Some(held) if held.member != member => return Err(AdmissionRefused::HeldByAnother),
            Some(_) => {}
            None => {
                let mine = |held: &&Admission| held.member == member;
                if self.open.values().filter(live).filter(mine).count() >= MAX_ADMISSIONS_PER_MEMBER {
                    return Err(AdmissionRefused::MemberFull);
                }
                if self.open.values().filter(live).count() >= MAX_ADMISSIONS {
                    return Err(AdmissionRefused::RelayFull);
                }
            }
        }
        let until = now + ttl;
        self.open.insert(guest, Admission { member, until });
        Ok(until)
    }

    /// Returns the one peer that `guest` may open circuits to; `None` for everybody else.
    pub fn destination(&self, guest: &PeerId, now: Instant) -> Option<PeerId> {
        self.open
            .get(guest)
            .filter(|held| held.until > now)
            .map(|held| held.member)
    }

    /// Ends the admissions that are over at `now` and returns their peers, to be closed.
    pub fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        self.remove_where(|held| held.until <= now)
    }

    /// Ends the admissions of a member that is none any more and returns their peers, to be closed.
    pub fn withdraw(&mut self, member: &PeerId) -> Vec<PeerId> {
        self.remove_where(|held| held.member == *member)
    }

    /// Ends one admission, when its peer became a member itself.
    pub fn forget(&mut self, guest: &PeerId) {
        self.open.remove(guest);
    }

    /// Returns when the next admission ends.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.open.values().map(|held| held.until).min()
    }

    /// Returns the members that have open admissions, each once or more.
    pub fn members(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.open.values().map(|held| held.member)
    }

    /// Returns each admitted peer and when its admission ends.
    pub fn guests(&self) -> impl Iterator<Item = (PeerId, Instant)> + '_ {
        self.open.iter().map(|(guest, held)| (*guest, held.until))
    }

    fn remove_where(&mut self, over: impl Fn(&Admission) -> bool) -> Vec<PeerId> {
        let gone: Vec<PeerId> = self
            .open
            .iter()
            .filter(|(_, held)| over(held))
            .map(|(guest, _)| *guest)
            .collect();
        for guest in &gone {
            self.open.remove(guest);
        }
        gone
    }
}

/// Counts the enrolments of each member within [`ENROLMENT_WINDOW`].
#[derive(Debug, Default)]
pub struct Enrolments {
    recent: HashMap<PeerId, VecDeque<Instant>>,
}

impl Enrolments {
    /// Creates an empty count.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one more enrolment by `member`.
    ///
    /// # Errors
    ///
    /// [`AdmissionRefused::TooManyEnrolments`]; nothing is counted then.
    pub fn count(&mut self, member: PeerId, now: Instant) -> Result<(), AdmissionRefused> {
        self.recent.retain(|_, times| {
            while times.front().is_some_and(|time| *time + ENROLMENT_WINDOW <= now) {
                times.pop_front();
            }
            !times.is_empty()
        });
        let times = self.recent.entry(member).or_default();
        if times.len() >= MAX_ENROLMENTS_PER_WINDOW {
            return Err(AdmissionRefused::TooManyEnrolments);
        }
        times.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_admitted_peer_may_reach_its_member_until_expiry() {
        let (now, member, guest) = (Instant::now(), PeerId::random(), PeerId::random());
        let mut admissions = Admissions::new();

        let until = admissions.admit(member, guest, MINUTE, now).unwrap();

        assert_eq!(admissions.destination(&guest, now), Some(member));
        assert_eq!(admissions.destination(&guest, until), None);
        assert_eq!(admissions.next_expiry(), Some(until));
        assert_eq!(admissions.expire(until), vec![guest]);
        assert_eq!(admissions.next_expiry(), None);
    }

    #[test]
    fn nobody_takes_over_the_guest_of_another_member() {
        let (now, guest) = (Instant::now(), PeerId::random());
        let mut admissions = Admissions::new();
        admissions.admit(PeerId::random(), guest, MINUTE, now).unwrap();

        assert_eq!(
            admissions.admit(PeerId::random(), guest, MINUTE, now),
            Err(AdmissionRefused::HeldByAnother)
        );
    }

    #[test]
    fn refuses_no_time_and_more_than_a_day() {
        let (now, member, guest) = (Instant::now(), PeerId::random(), PeerId::random());
        let mut admissions = Admissions::new();

        for ttl in [Duration::ZERO, MAX_ADMISSION_TTL + Duration::from_secs(1)] {
            assert_eq!(
                admissions.admit(member, guest, ttl, now),
                Err(AdmissionRefused::BadTtl)
            );
        }
        assert!(admissions.admit(member, guest, MAX_ADMISSION_TTL, now).is_ok());
    }

    #[test]
    fn bounds_the_admissions_of_a_member_and_of_the_relay() {
        let now = Instant::now();
        let mut admissions = Admissions::new();
        for _ in 0..MAX_ADMISSIONS / MAX_ADMISSIONS_PER_MEMBER {
            let member = PeerId::random();
            for _ in 0..MAX_ADMISSIONS_PER_MEMBER {
                admissions.admit(member, PeerId::random(), MINUTE, now).unwrap();
            }
            assert_eq!(
                admissions.admit(member, PeerId::random(), MINUTE, now),
                Err(AdmissionRefused::MemberFull)
            );
        }

        assert_eq!(
            admissions.admit(PeerId::random(), PeerId::random(), MINUTE, now),
            Err(AdmissionRefused::RelayFull)
        );
        assert!(
            admissions
                .admit(PeerId::random(), PeerId::random(), MINUTE, now + MINUTE)
                .is_ok()
        );
    }

    #[test]
    fn a_member_that_leaves_takes_its_guests_along() {
        let now = Instant::now();
        let (leaves, stays, guest) = (PeerId::random(), PeerId::random(), PeerId::random());
        let mut admissions = Admissions::new();
        admissions.admit(leaves, guest, MINUTE, now).unwrap();
        admissions.admit(stays, PeerId::random(), MINUTE, now).unwrap();

        assert_eq!(admissions.withdraw(&leaves), vec![guest]);
        assert_eq!(admissions.guests().count(), 1);
    }

    #[test]
    fn enrolments_are_counted_within_an_hour() {
        let (now, member) = (Instant::now(), PeerId::random());
        let mut enrolments = Enrolments::new();
        for _ in 0..MAX_ENROLMENTS_PER_WINDOW {
            enrolments.count(member, now).unwrap();
        }

        assert_eq!(
            enrolments.count(member, now),
            Err(AdmissionRefused::TooManyEnrolments)
        );
        assert!(enrolments.count(PeerId::random(), now).is_ok());
        assert!(enrolments.count(member, now + ENROLMENT_WINDOW).is_ok());
    }

    proptest! {
        #[test]
        fn no_order_of_admissions_exceeds_a_bound_or_changes_a_destination(
            steps in prop::collection::vec((0usize..20, 0usize..40, 0u64..100_000, 0u64..60), 1..120),
        ) {
            let members: Vec<_> = (0..20).map(|_| PeerId::random()).collect();
            let guests: Vec<_> = (0..40).map(|_| PeerId::random()).collect();
            let mut now = Instant::now();
            let mut admissions = Admissions::new();
            for (member, guest, ttl, advance) in steps {
                now += Duration::from_secs(advance);
                let before = admissions.destination(&guests[guest], now);
                let answer = admissions.admit(members[member], guests[guest], Duration::from_secs(ttl), now);
                match answer {
                    Ok(until) => {
                        prop_assert!(until <= now + MAX_ADMISSION_TTL);
                        prop_assert!(before.is_none() || before == Some(members[member]));
                    }
                    Err(_) => prop_assert_eq!(admissions.destination(&guests[guest], now), before),
                }
                for member in &members {
                    let theirs = guests
                        .iter()
                        .filter(|guest| admissions.destination(guest, now) == Some(*member));
                    prop_assert!(theirs.count() <= MAX_ADMISSIONS_PER_MEMBER);
                }
                admissions.expire(now);
                prop_assert!(admissions.guests().count() <= MAX_ADMISSIONS);
            }
        }
    }
}
