//! Who belongs to the relay: the list of authorised peers, the peers that they have admitted, and the access
//! policy that follows from both.
//!
//! The one place that replaces the policy. A list that cannot be read leaves the last good one in force.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::{SignedDuration, Timestamp};
use libp2p::PeerId;
use peerup_config::{Enrollment, RelayConfig};
use peerup_model::PeerName;
use peerup_net::PolicyHandle;
use peerup_trust::{AccessPolicy, AdmitRefusal, AuthorizedKeys, Entry, KeyFile, KeyFileError, MemberRole};

use crate::admission::AdmissionRefused;
use crate::asn::AsnTable;
use crate::metrics::Meters;
use crate::rules::Rules;

/// Why a member's wish is not granted, as the log tells it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// A bound is used up.
    #[error(transparent)]
    Bound(#[from] AdmissionRefused),
    /// Only members that stand in the list admit others.
    #[error("the peer that asks is not in the list of authorized peers")]
    NotListed,
    /// `enrollment: admins`, and the asking member is none.
    #[error("only admins enrol peers here (enrollment: admins)")]
    AdminsOnly,
    /// `enrollment: closed`.
    #[error("this relay is closed to enrolment (enrollment: closed)")]
    Closed,
    /// The list cannot be written.
    #[error("the list of authorized peers cannot be written: {0}")]
    Unwritable(#[source] Box<KeyFileError>),
    /// The request is of a later version.
    #[error("the request is of a kind that this release does not know")]
    Unknown,
}

impl Refused {
    /// Returns what the member learns of it.
    pub(crate) fn on_the_wire(&self) -> AdmitRefusal {
        match self {
            Self::Bound(AdmissionRefused::BadTtl | AdmissionRefused::HeldByAnother) | Self::Unknown => {
                AdmitRefusal::Invalid
            }
            Self::Bound(_) => AdmitRefusal::Full,
            Self::NotListed => AdmitRefusal::NotMember,
            Self::AdminsOnly => AdmitRefusal::EnrollmentAdmins,
            Self::Closed => AdmitRefusal::EnrollmentClosed,
            Self::Unwritable(_) => AdmitRefusal::Internal,
        }
    }
}

/// Members, guests and the policy of one relay.
#[derive(Debug)]
pub(crate) struct Membership {
    file: KeyFile,
    enrollment: Mutex<Enrollment>,
    gating: bool,
    keys: ArcSwap<AuthorizedKeys>,
    policy: PolicyHandle,
    rules: Arc<Rules>,
    meters: Arc<Meters>,
    /// Why the list as it stands now is not the one in force.
    problem: ArcSwapOption<KeyFileError>,
    /// Held while the list is read or written: an older read never replaces a newer one.
    reading: tokio::sync::Mutex<()>,
}

impl Membership {
    /// Reads the list and puts it in force. Blocks for a moment. A list that is not there yet is empty.
    ///
    /// # Errors
    ///
    /// The list cannot be read, or one of its lines does not hold.
    pub(crate) fn start(
        config: &RelayConfig,
        asn: Option<Arc<AsnTable>>,
        meters: Arc<Meters>,
    ) -> Result<(Self, Arc<Rules>), Box<KeyFileError>> {
        let file = KeyFile::new(&config.security.authorized_keys_file);
        let gating = config.security.enable_connection_gating;
        let keys = file.load_or_empty()?;
        let policy = PolicyHandle::new(AccessPolicy::new(&keys).with_gating(gating));
        let rules = Rules::new(policy.clone(), &config.resources, asn, meters.clone());
        let membership = Self {
            file,
            enrollment: Mutex::new(config.enrollment),
            gating,
            keys: ArcSwap::from_pointee(keys),
            policy,
            rules: Arc::clone(&rules),
            meters,
            problem: ArcSwapOption::empty(),
            reading: tokio::sync::Mutex::new(()),
        };
        Ok((membership, rules))
    }

    /// Returns the policy in force.
    pub(crate) fn policy(&self) -> PolicyHandle {
        self.policy.clone()
    }

    /// Puts other settings in force: who may enrol, and how many reservations there may be.
    pub(crate) fn set(&self, config: &RelayConfig, asn: Option<Arc<AsnTable>>) {
        *self.enrollment.lock().unwrap_or_else(PoisonError::into_inner) = config.enrollment;
        self.rules.set_limits(&config.resources, asn);
    }

    /// Counts what became of a member's request to admit or enrol a peer.
    pub(crate) fn count_admit(&self, refused: Option<AdmitRefusal>) {
        self.meters.count_admit(refused);
    }

    /// Returns how many peers hold a reservation, and how many are admitted.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.rules.counts(Instant::now())
    }

    /// Returns how many peers stand in the list.
    pub(crate) fn count(&self) -> usize {
        self.keys.load().len()
    }

    /// Admits `guest` for circuits to `member`, which asks for it. A guest that is a member needs nothing.
    pub(crate) fn admit(&self, member: PeerId, guest: PeerId, ttl: Duration) -> Result<(), Refused> {
        self.listed(&member)?;
        if !self.rules.is_member(&guest) {
            self.rules.admit(member, guest, ttl, Instant::now())?;
            self.publish();
            tracing::info!(%member, %guest, ?ttl, "admitted a peer for circuits to its member");
        }
        Ok(())
    }

    /// Writes `peer` into the list because `member` asks for it. A peer that stands there stays as it is.
    pub(crate) async fn enroll(
        &self,
        member: PeerId,
        peer: PeerId,
        name: Option<&PeerName>,
    ) -> Result<(), Refused> {
        let role = self.listed(&member)?;
        let enrollment = *self.enrollment.lock().unwrap_or_else(PoisonError::into_inner);
        match enrollment {
            Enrollment::Closed => return Err(Refused::Closed),
            Enrollment::Admins if role != MemberRole::Admin => return Err(Refused::AdminsOnly),
            Enrollment::Members | Enrollment::Admins => {}
        }
        let _reading = self.reading.lock().await;
        if self.keys.load().get(&peer).is_some() {
            return Ok(());
        }
        self.rules.count_enrolment(member, Instant::now())?;
        let today = Timestamp::now().strftime("%Y-%m-%d");
        let name = name.map_or("", PeerName::as_str);
        let mut entry = Entry::new(peer).with_comment(&format!("enrolled by {member} {today} {name}"));
        // A guest of the relay vouches for others no longer than it is one itself.
        entry.expires = self.keys.load().get(&member).and_then(|entry| entry.expires);
        let file = self.file.clone();
        let written = blocking(move || {
            match file.add(entry) {
                // Another hand was faster, which is as good; the list as it stands now counts.
                Ok(()) => {}
                Err(error) if error.is_already_authorized() => {}
                Err(error) => return Err(Box::new(error)),
            }
            file.load().map_err(Box::new)
        });
        let keys = written.await.map_err(Refused::Unwritable)?;
        self.adopt(keys);
        tracing::info!(%member, %peer, "enrolled a peer");
        Ok(())
    }

    /// Returns why the list was not read again; none where the one in force is what the file had at the last look.
    pub(crate) fn list_problem(&self) -> Option<Arc<KeyFileError>> {
        self.problem.load_full()
    }

    /// Reads the list anew and puts it in force; one that does not hold is logged and kept for whoever asks, and changes
    /// nothing else.
    pub(crate) async fn reload(&self) {
        let _reading = self.reading.lock().await;
        let file = self.file.clone();
        match blocking(move || file.load().map_err(Box::new)).await {
            Ok(keys) => self.adopt(keys),
            Err(error) => {
                tracing::error!("{error}; the peers authorized before stay in force");
                self.problem.store(Some(Arc::from(error)));
            }
        }
    }

    /// Ends the admissions that are over.
    pub(crate) fn review(&self) {
        if self.rules.review_admissions(Instant::now()) {
            self.publish();
        }
    }

    fn adopt(&self, keys: AuthorizedKeys) {
        self.problem.store(None);
        if **self.keys.load() == keys {
            return;
        }
        tracing::info!(peers = keys.len(), "the list of authorized peers changed");
        self.keys.store(Arc::new(keys));
        self.publish();
        // The guests of a member that left go with it.
        self.review();
    }

    /// Replaces the policy by what list and admissions say now; the gate closes who lost its right.
    fn publish(&self) {
        self.policy.update(|_| {
            let (now, wall) = (Instant::now(), Timestamp::now());
            let ends = |left| wall + SignedDuration::try_from(left).unwrap_or(SignedDuration::ZERO);
            let guests = self
                .rules
                .guests(now)
                .into_iter()
                .map(|(guest, left)| (guest, ends(left)));
            AccessPolicy::new(&self.keys.load())
                .with_gating(self.gating)
                .with_pairing(guests)
        });
    }

    /// Returns the role of a member that stands in the list and has not expired.
    fn listed(&self, member: &PeerId) -> Result<MemberRole, Refused> {
        let keys = self.keys.load();
        let entry = keys
            .get(member)
            .filter(|entry| !entry.is_expired(Timestamp::now()));
        entry.map(|entry| entry.role).ok_or(Refused::NotListed)
    }
}

/// Runs file access beside the swarm's loop.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Box<KeyFileError>> + Send + 'static,
) -> Result<T, Box<KeyFileError>> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Only a panic in there, or the end of the runtime, comes here.
        Err(error) => Err(Box::new(KeyFileError::Read {
            path: "authorized_keys".into(),
            source: std::io::Error::other(error),
        })),
    }
}
