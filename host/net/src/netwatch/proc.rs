//! Reads the network's state from `/proc/net` and `/sys/class/net`, for sandboxes without netlink.
//!
//! Blocking. Knows less than netlink: IPv4 addresses without their interface, and routers' link-layer addresses for
//! IPv4 only. The parsers are pure, skip what they do not understand, and keep [`MAX_ENTRIES`] of a kind.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use super::survey::{Address, DefaultRoute, Link, MAX_ENTRIES, Mac, Survey};

/// `IFF_UP`, `IFF_LOOPBACK` and `IFF_RUNNING` of `/sys/class/net/*/flags`.
const UP: u32 = 1;
const LOOPBACK: u32 = 1 << 3;
/// `ARPHRD_PPP` and `ARPHRD_NONE` of `/sys/class/net/*/type`.
const TYPE_PPP: u32 = 512;
const TYPE_NONE: u32 = 65_534;
/// `IFA_F_DADFAILED`, `IFA_F_OPTIMISTIC` and `IFA_F_TENTATIVE` of `/proc/net/if_inet6`.
const DAD_FAILED: u32 = 0x08;
const OPTIMISTIC: u32 = 0x04;
const TENTATIVE: u32 = 0x40;
/// `RTF_UP` and `RTF_REJECT` of the route tables.
const ROUTE_UP: u32 = 1;
const ROUTE_REJECT: u32 = 0x200;

/// Reads everything there is.
///
/// # Errors
/// `/proc/net` is missing. Single files that are missing or damaged only leave gaps.
pub(super) fn survey() -> io::Result<Survey> {
    let read = |name: &str| fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    let devices = fs::read_to_string("/proc/net/dev")?;
    let mut survey = Survey::default();
    for (position, name) in interfaces(&devices).enumerate() {
        let fallback = u32::try_from(position).unwrap_or(u32::MAX);
        let (index, link) = link(&name, fallback);
        survey.links.insert(index, link);
    }
    survey.addresses = local_v4(&read("fib_trie"));
    survey.addresses.extend(local_v6(&read("if_inet6")));
    let by_name = |name: &str| survey.links.iter().find(|(_, link)| link.name == name);
    for (name, gateway) in default_v4(&read("route"))
        .into_iter()
        .chain(default_v6(&read("ipv6_route")))
    {
        let link = by_name(&name).map(|(index, _)| *index);
        survey
            .routes
            .extend(link.map(|link| DefaultRoute { link, gateway }));
    }
    let neighbours: Vec<_> = neighbours(&read("arp"))
        .into_iter()
        .filter_map(|(name, ip, mac)| by_name(&name).map(|(index, _)| ((*index, ip), mac)))
        .collect();
    survey.neighbours.extend(neighbours);
    Ok(survey)
}

/// What `/sys` says about an interface. Without `/sys` it counts as up and as no tunnel.
fn link(name: &str, fallback: u32) -> (u32, Link) {
    let folder = Path::new("/sys/class/net").join(name);
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let number = |file: &str| read(file).and_then(|text| number(text.trim()));
    let flags = number("flags").unwrap_or(if name == "lo" { UP | LOOPBACK } else { UP });
    let state = read("operstate").unwrap_or_default();
    let kind = number("type").unwrap_or_default();
    let wireguard = read("uevent").is_some_and(|text| text.contains("DEVTYPE=wireguard"));
    let tun = kind == TYPE_NONE && folder.join("tun_flags").exists();
    let up = flags & UP != 0;
    let link = Link {
        name: name.to_owned(),
        up,
        running: up && matches!(state.trim(), "up" | "unknown" | ""),
        loopback: flags & LOOPBACK != 0,
        tunnel: tun || wireguard || kind == TYPE_PPP,
    };
    (number("ifindex").unwrap_or(fallback), link)
}

/// A number as `/sys` writes it: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => hex(digits),
        None => text.parse().ok(),
    }
}

fn hex(digits: &str) -> Option<u32> {
    u32::from_str_radix(digits, 16).ok()
}

/// Names of interfaces from `/proc/net/dev`.
fn interfaces(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| !name.is_empty() && !name.contains('/') && name != "." && name != "..")
        .take(MAX_ENTRIES)
}

/// Local addresses from `/proc/net/fib_trie`: each `|-- ADDRESS` that a `/32 host LOCAL` follows.
fn local_v4(text: &str) -> Vec<Address> {
    let mut found: Vec<Address> = Vec::new();
    let mut last = None;
    for line in text.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.trim() == "/32 host LOCAL"
            && let Some(ip) = last.take().map(IpAddr::V4)
            && found.len() < MAX_ENTRIES
            && found.iter().all(|known| known.ip != ip)
        {
            found.push(Address {
                link: None,
                ip,
                tentative: false,
            });
        }
    }
    found
}

/// Addresses from `/proc/net/if_inet6`: `ADDRESS INDEX PREFIX SCOPE FLAGS NAME`, all in hexadecimal.
fn local_v6(text: &str) -> Vec<Address> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let ip = ipv6(fields.next()?)?;
            let link = hex(fields.next()?)?;
            let flags = hex(fields.nth(2)?)?;
            (flags & DAD_FAILED == 0).then(|| Address {
                link: Some(link),
                ip: ip.into(),
                tentative: flags & TENTATIVE != 0 && flags & OPTIMISTIC == 0,
            })
        })
        .take(MAX_ENTRIES)
        .collect()
}

/// Default routes from `/proc/net/route`: `NAME DESTINATION GATEWAY FLAGS . . . MASK`, addresses in hexadecimal and
/// in the byte order of the machine.
fn default_v4(text: &str) -> Vec<(String, Option<IpAddr>)> {
    let address = |digits: &str| Some(Ipv4Addr::from(hex(digits)?.to_ne_bytes()));
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let name = fields.next()?;
            let destination = address(fields.next()?)?;
            let gateway = address(fields.next()?)?;
            let flags = hex(fields.next()?)?;
            let mask = address(fields.nth(3)?)?;
            let used = flags & ROUTE_UP != 0 && flags & ROUTE_REJECT == 0;
            let default = destination.is_unspecified() && mask.is_unspecified();
            let gateway = (!gateway.is_unspecified()).then_some(gateway.into());
            (used && default).then(|| (name.to_owned(), gateway))
        })
        .take(MAX_ENTRIES)
        .collect()
}

/// Default routes from `/proc/net/ipv6_route`: `DESTINATION PREFIX SOURCE PREFIX NEXT-HOP . . . FLAGS NAME`.
fn default_v6(text: &str) -> Vec<(String, Option<IpAddr>)> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [destination, prefix, _, _, hop, _, _, _, flags, name] = fields.as_slice() else {
                return None;
            };
            let default = ipv6(destination)?.is_unspecified() && hex(prefix)? == 0;
            let flags = hex(flags)?;
            let used = flags & ROUTE_UP != 0 && flags & ROUTE_REJECT == 0;
            let hop = ipv6(hop)?;
            let gateway = (!hop.is_unspecified()).then_some(hop.into());
            (used && default).then(|| ((*name).to_owned(), gateway))
        })
        .take(MAX_ENTRIES)
        .collect()
}

/// Routers and others from `/proc/net/arp`: `IP TYPE FLAGS MAC MASK NAME`.
fn neighbours(text: &str) -> Vec<(String, IpAddr, Mac)> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let ip: Ipv4Addr = fields.next()?.parse().ok()?;
            let mac = mac(fields.nth(2)?).filter(|mac| mac.0 != [0; 6])?;
            let name = fields.nth(1)?;
            Some((name.to_owned(), ip.into(), mac))
        })
        .take(MAX_ENTRIES)
        .collect()
}

fn mac(text: &str) -> Option<Mac> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect::<Option<_>>()?;
    Some(Mac(bytes.try_into().ok()?))
}

fn ipv6(digits: &str) -> Option<Ipv6Addr> {
    (digits.len() == 32)
        .then(|| u128::from_str_radix(digits, 16).ok())
        .flatten()
        .map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_tables_of_the_kernel() {
        let dev = "Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 2\n";
        assert_eq!(interfaces(dev).collect::<Vec<_>>(), ["lo", "eth0"]);

        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n\
                    |-- 192.168.1.7\n   /32 host LOCAL\n  |-- 192.168.1.255\n /32 link BROADCAST\n\
                    |-- 192.168.1.7\n   /32 host LOCAL\n";
        let addresses: Vec<_> = local_v4(trie).iter().map(|found| found.ip.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1", "192.168.1.7"]);

        let inet6 = "20010db8000000000000000000000007 02 40 00 c0 eth0\n\
                     20010db8000000000000000000000008 02 40 00 88 eth0\nnonsense\n";
        let addresses = local_v6(inet6);
        assert_eq!(addresses.len(), 1);
        assert_eq!(addresses[0].ip.to_string(), "2001:db8::7");
        assert!(addresses[0].tentative);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn finds_default_routes_and_their_routers() {
        let route = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                     eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n\
                     eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n\
                     ppp0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n";
        assert_eq!(
            default_v4(route),
            [
                ("eth0".to_owned(), Some("192.168.1.1".parse().unwrap())),
                ("ppp0".to_owned(), None)
            ]
        );
        let zero = "0".repeat(32);
        let route = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
        );
        assert_eq!(
            default_v6(&route),
            [("eth0".to_owned(), Some("fe80::1".parse().unwrap()))]
        );
        let arp = "IP address HW type Flags HW address Mask Device\n\
                   192.168.1.1 0x1 0x2 02:11:22:33:44:55 * eth0\n\
                   192.168.1.9 0x1 0x0 00:00:00:00:00:00 * eth0\n";
        let found = neighbours(arp);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].2.to_string(), "02:11:22:33:44:55");
    }

    #[test]
    fn reads_this_machine() {
        let survey = survey().unwrap();
        assert!(survey.links.values().any(|link| link.loopback), "{survey:?}");
    }

    proptest! {
        #[test]
        fn survives_any_text(text in "(?s)[ -~\n\t|]{0,400}") {
            let _ = interfaces(&text).count();
            let _ = (local_v4(&text), local_v6(&text), default_v4(&text), default_v6(&text), neighbours(&text));
        }

        #[test]
        fn survives_any_table(lines in proptest::collection::vec(
            proptest::collection::vec("[0-9a-fA-F:.]{0,40}", 0..12), 0..20,
        )) {
            let text = lines.iter().map(|fields| fields.join(" ")).collect::<Vec<_>>().join("\n");
            let _ = (local_v6(&text), default_v4(&text), default_v6(&text), neighbours(&text));
        }
    }
}
