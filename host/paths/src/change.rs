//! Whether the network that this node is in has changed, from the kernel's notices and from jumps of the clock.
//!
//! Driven by the network watcher: it passes on that something moved, and when the debounce is over it reads what is
//! there now and hands it in. What a change means for connections is not decided here.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use crate::reach::{AddressScope, scope};

/// How long the kernel must be quiet: an interface that comes up sends a dozen notices.
pub const DEBOUNCE: Duration = Duration::from_millis(500);
/// The same while an IPv6 address is tentative: it cannot be used until duplicate address detection is over.
pub const TENTATIVE_DEBOUNCE: Duration = Duration::from_secs(2);
/// The longest wait in an endless stream of notices.
const DEBOUNCE_CAP: Duration = Duration::from_secs(5);
/// How much further the clock that counts sleep may run than the one that does not.
const SLEEP_GAP: Duration = Duration::from_secs(3);
/// How far the wall clock may move away from the clock that counts sleep.
const WALL_JUMP: Duration = Duration::from_secs(10);

/// What identifies the network that this node is in at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFingerprint {
    /// Usable addresses of this machine.
    pub addresses: BTreeSet<IpAddr>,
    /// Default gateways, each in any text that stays the same, such as `192.168.1.1 dev eth0`.
    pub gateways: BTreeSet<String>,
    /// Names of tunnel interfaces that are up.
    pub tunnels: BTreeSet<String>,
}

impl NetworkFingerprint {
    /// Returns a short name of the network that is the same at the next visit, on every build of this program.
    ///
    /// Made of the gateways and the private subnets, so a new lease in the same home network changes nothing.
    pub fn network_id(&self) -> String {
        let subnets: BTreeSet<_> = self
            .addresses
            .iter()
            .copied()
            .filter_map(private_subnet)
            .collect();
        let mut hash = Fnv::new();
        for gateway in &self.gateways {
            hash.write(b"gateway");
            hash.write(gateway.as_bytes());
        }
        for subnet in &subnets {
            hash.write(b"subnet");
            match subnet {
                IpAddr::V4(ip) => hash.write(&ip.octets()),
                IpAddr::V6(ip) => hash.write(&ip.octets()),
            }
        }
        format!("{:016x}", hash.0)
    }
}

/// The /24 of a private IPv4 address, the /64 of a private IPv6 one.
fn private_subnet(ip: IpAddr) -> Option<IpAddr> {
    match scope(ip) {
        AddressScope::Private | AddressScope::Cgnat | AddressScope::UniqueLocal => {}
        _ => return None,
    }
    Some(match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    })
}

/// FNV-1a with 64 bits: the standard library's hash may change with any compiler.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds the bytes and their number, so that no two sequences run into each other.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&(bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Instant,
    due: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Clocks {
    monotonic: Instant,
    boot: Duration,
    wall: Duration,
}

/// Tells changes of the network from noise.
#[derive(Debug, Default)]
pub struct ChangeDetector {
    pending: Option<Pending>,
    current: Option<NetworkFingerprint>,
    clocks: Option<Clocks>,
}

impl ChangeDetector {
    /// Starts without knowing the network; the first fingerprint is no change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a notice that something moved.
    pub fn handle_event(&mut self, now: Instant) {
        self.wait(DEBOUNCE, now);
    }

    /// Takes a notice of an IPv6 address that is not usable yet.
    pub fn handle_tentative(&mut self, now: Instant) {
        self.wait(TENTATIVE_DEBOUNCE, now);
    }

    /// Takes what the network looks like, read when [`Self::poll_timeout`] is over, and returns whether it changed.
    ///
    /// During the debounce it is ignored, for it may be half of a change.
    pub fn handle_fingerprint(&mut self, fingerprint: NetworkFingerprint, now: Instant) -> bool {
        if self.current.is_some() && self.pending.is_some_and(|pending| now < pending.due) {
            return false;
        }
        if self.current.is_some() {
            self.pending = None;
        }
        let changed = self
            .current
            .as_ref()
            .is_some_and(|current| *current != fingerprint);
        self.current = Some(fingerprint);
        changed
    }

    /// Takes three clocks read at one moment, regularly, and returns whether one of them jumped since the last time.
    ///
    /// `monotonic` stands still while the machine sleeps, `boot` (`CLOCK_BOOTTIME`) does not, `wall` is the time since
    /// the Unix epoch. A jump counts as a change of the network: the machine slept or its clock was set.
    pub fn handle_clock(&mut self, monotonic: Instant, boot: Duration, wall: Duration) -> bool {
        let last = self.clocks.replace(Clocks {
            monotonic,
            boot,
            wall,
        });
        let Some(last) = last else {
            return false;
        };
        let awake = monotonic.saturating_duration_since(last.monotonic);
        let passed = boot.saturating_sub(last.boot);
        let slept = passed.saturating_sub(awake) > SLEEP_GAP;
        slept || wall.abs_diff(last.wall.saturating_add(passed)) > WALL_JUMP
    }

    /// Returns when the network is to be looked at; none exactly while nothing moved.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending.map(|pending| pending.due)
    }

    /// What the network looked like last.
    pub fn current(&self) -> Option<&NetworkFingerprint> {
        self.current.as_ref()
    }

    fn wait(&mut self, debounce: Duration, now: Instant) {
        let wished = now + debounce;
        let pending = self.pending.map_or(
            Pending {
                first: now,
                due: wished,
            },
            |pending| Pending {
                // A notice of the ordinary kind must not cut the wait for a tentative address short.
                due: pending.due.max(wished).min(pending.first + DEBOUNCE_CAP),
                ..pending
            },
        );
        self.pending = Some(pending);
    }
}
