//! Classes of addresses that a host name must not lead to unseen.
//!
//! Whoever controls a name decides what it resolves to. A name that was granted therefore never reaches this
//! machine, the link or a cloud's metadata service, unless a pattern names that very address, or `localhost`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::AddressPattern;

/// An address that needs a grant of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// This machine: `127.0.0.0/8`, `::1`.
    Loopback,
    /// The link: `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Where clouds tell a machine its secrets.
    Metadata,
    /// `0.0.0.0/8` and `::`, which the system takes for this machine.
    Unspecified,
    /// Many machines at once, broadcast included.
    Multicast,
}

/// Addresses of clouds' metadata services.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

impl AddressClass {
    /// Returns the class of an address; none for one that a host name may lead to.
    pub fn of(address: IpAddr) -> Option<Self> {
        let address = embedded(address);
        if METADATA.contains(&address) {
            return Some(Self::Metadata);
        }
        match address {
            IpAddr::V4(v4) if v4.octets()[0] == 0 => Some(Self::Unspecified),
            IpAddr::V4(v4) if v4.is_loopback() => Some(Self::Loopback),
            IpAddr::V4(v4) if v4.is_link_local() => Some(Self::LinkLocal),
            IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => Some(Self::Multicast),
            IpAddr::V6(v6) if v6.is_unspecified() => Some(Self::Unspecified),
            IpAddr::V6(v6) if v6.is_loopback() => Some(Self::Loopback),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Self::LinkLocal),
            IpAddr::V6(v6) if v6.is_multicast() => Some(Self::Multicast),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
        })
    }
}

/// Returns the IPv4 address inside an IPv6 one that stands for it: mapped, or behind a NAT64.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let [a, b, c, d, e, f, high, low] = v6.segments();
    if [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let bits = u32::from(high) << 16 | u32::from(low);
        return IpAddr::V4(Ipv4Addr::from_bits(bits));
    }
    address
}

/// Returns whether a granted host name may lead to this address: always but for the classes above, and there
/// only where a pattern names the address itself, or `localhost` for loopback.
pub fn may_lead_to<'a>(
    mut patterns: impl Iterator<Item = &'a AddressPattern>,
    address: SocketAddr,
) -> Result<(), AddressClass> {
    let Some(class) = AddressClass::of(address.ip()) else {
        return Ok(());
    };
    let literal = SocketAddr::new(embedded(address.ip()), address.port()).to_string();
    let written = SocketAddr::new(address.ip(), address.port()).to_string();
    let localhost = format!("localhost:{}", address.port());
    let named = patterns.any(|pattern| {
        pattern.matches(&literal)
            || pattern.matches(&written)
            || (class == AddressClass::Loopback && pattern.matches(&localhost))
    });
    if named { Ok(()) } else { Err(class) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Option<AddressClass> {
        AddressClass::of(text.parse().unwrap())
    }

    #[test]
    fn every_address_that_needs_its_own_grant_is_known_in_each_disguise() {
        for (text, expected) in [
            ("127.0.0.1", AddressClass::Loopback),
            ("127.8.9.1", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("::ffff:127.0.0.1", AddressClass::Loopback),
            ("64:ff9b::7f00:1", AddressClass::Loopback),
            ("169.254.0.1", AddressClass::LinkLocal),
            ("fe80::1", AddressClass::LinkLocal),
            ("febf::1", AddressClass::LinkLocal),
            ("169.254.169.254", AddressClass::Metadata),
            ("::ffff:169.254.169.254", AddressClass::Metadata),
            ("fd00:ec2::254", AddressClass::Metadata),
            ("100.100.100.200", AddressClass::Metadata),
            ("0.0.0.0", AddressClass::Unspecified),
            ("0.1.2.3", AddressClass::Unspecified),
            ("::", AddressClass::Unspecified),
            ("224.0.0.251", AddressClass::Multicast),
            ("255.255.255.255", AddressClass::Multicast),
            ("ff02::fb", AddressClass::Multicast),
        ] {
            assert_eq!(class(text), Some(expected), "{text}");
        }
        for plain in [
            "192.0.2.1",
            "10.0.0.1",
            "100.100.100.201",
            "2001:db8::1",
            "fd00:ec2::255",
        ] {
            assert_eq!(class(plain), None, "{plain}");
        }
    }

    #[test]
    fn a_name_leads_there_only_where_a_pattern_names_the_address() {
        let leads = |patterns: &[&str], address: &str| {
            let patterns: Vec<AddressPattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
            may_lead_to(patterns.iter(), address.parse().unwrap())
        };
        assert_eq!(leads(&["db.example:*"], "192.0.2.1:80"), Ok(()));
        assert_eq!(
            leads(&["db.example:*"], "127.0.0.1:80"),
            Err(AddressClass::Loopback)
        );
        assert_eq!(leads(&["db.example:*", "127.0.0.1:80"], "127.0.0.1:80"), Ok(()));
        assert_eq!(
            leads(&["db.example:*", "127.0.0.1:81"], "127.0.0.1:80"),
            Err(AddressClass::Loopback)
        );
        assert_eq!(leads(&["localhost:80"], "[::1]:80"), Ok(()));
        assert_eq!(
            leads(&["localhost:80"], "169.254.169.254:80"),
            Err(AddressClass::Metadata)
        );
        assert_eq!(
            leads(&["169.254.169.254:80"], "[::ffff:169.254.169.254]:80"),
            Ok(())
        );
    }
}
