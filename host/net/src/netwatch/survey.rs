//! What the system says about its network at one moment, and what of it matters.
//!
//! Pure. Both readers, netlink and `/proc`, fill a [`Survey`], so that the same network gives the same [`NetState`]
//! whichever was used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// Entries of one kind in a survey. A machine with more addresses or default routes is a router with other needs.
pub(super) const MAX_ENTRIES: usize = 4_096;

/// The network of this machine, as far as it decides which paths work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetState {
    /// Addresses that can be used now, on interfaces that are up: no loopback, no IPv6 link-local ones, which nothing
    /// here can dial, and none of `tentative`.
    pub addresses: BTreeSet<IpAddr>,
    /// IPv6 addresses that the system still checks for a duplicate. They cannot be used for a second or two.
    pub tentative: BTreeSet<IpAddr>,
    /// Those of `addresses` on interfaces with a default route, tunnels aside; all of them where there is no such
    /// interface.
    pub uplinks: BTreeSet<IpAddr>,
    /// Where packets to the internet go.
    pub gateways: BTreeSet<Gateway>,
    /// Names of tunnel interfaces that are up: TUN, WireGuard, PPP, IPsec.
    pub tunnels: BTreeSet<String>,
}

/// One default route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gateway {
    /// The next hop; `None` on links that have none, such as a tunnel.
    pub address: Option<IpAddr>,
    /// The interface.
    pub interface: String,
    /// The link-layer address of the next hop, where the neighbour table knows it. `192.168.1.1` is everywhere;
    /// this tells one such network from the other.
    pub mac: Option<Mac>,
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("default")?;
        if let Some(address) = self.address {
            write!(f, " via {address}")?;
        }
        write!(f, " dev {}", self.interface)?;
        if let Some(mac) = self.mac {
            write!(f, " lladdr {mac}")?;
        }
        Ok(())
    }
}

/// A link-layer address of six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// Switched on by the administrator.
    pub(super) up: bool,
    /// Up with a carrier.
    pub(super) running: bool,
    pub(super) loopback: bool,
    pub(super) tunnel: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// `None` where the reader cannot tell; the address counts then.
    pub(super) link: Option<u32>,
    pub(super) ip: IpAddr,
    pub(super) tentative: bool,
}

/// A default route of some table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    pub(super) link: u32,
    pub(super) gateway: Option<IpAddr>,
}

/// What a reader found.
#[derive(Debug, Clone, Default)]
pub(super) struct Survey {
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<DefaultRoute>,
    pub(super) neighbours: BTreeMap<(u32, IpAddr), Mac>,
}

impl Survey {
    /// What of it matters.
    pub(super) fn state(&self) -> NetState {
        let (tentative, usable): (Vec<_>, Vec<_>) = self
            .addresses
            .iter()
            .filter(|address| self.counts(address))
            .partition(|address| address.tentative);
        let gateways: BTreeSet<Gateway> = self
            .routes
            .iter()
            .filter_map(|route| self.gateway(route))
            .collect();
        let uplinks: BTreeSet<u32> = self
            .routes
            .iter()
            .map(|route| route.link)
            .filter(|index| {
                self.links
                    .get(index)
                    .is_some_and(|link| link.running && !link.tunnel)
            })
            .collect();
        let on_uplink = |address: &&&Address| {
            uplinks.is_empty() || address.link.is_none_or(|link| uplinks.contains(&link))
        };
        NetState {
            uplinks: usable
                .iter()
                .filter(on_uplink)
                .map(|address| address.ip)
                .collect(),
            addresses: usable.iter().map(|address| address.ip).collect(),
            tentative: tentative.into_iter().map(|address| address.ip).collect(),
            gateways,
            tunnels: self
                .links
                .values()
                .filter(|link| link.tunnel && link.up)
                .map(|link| link.name.clone())
                .collect(),
        }
    }

    /// IPv4 addresses stay on an interface that is down or lost its carrier, so the link decides.
    fn counts(&self, address: &Address) -> bool {
        let link_works = match address.link {
            None => true,
            Some(index) => self
                .links
                .get(&index)
                .is_some_and(|link| link.running && !link.loopback),
        };
        let dialable = match address.ip {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_unspecified(),
            IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unicast_link_local(),
        };
        link_works && dialable
    }

    fn gateway(&self, route: &DefaultRoute) -> Option<Gateway> {
        let link = self
            .links
            .get(&route.link)
            .filter(|link| link.running && !link.loopback)?;
        Some(Gateway {
            address: route.gateway,
            interface: link.name.clone(),
            mac: route
                .gateway
                .and_then(|ip| self.neighbours.get(&(route.link, ip)).copied()),
        })
    }
}

impl NetState {
    /// The default routes that tell this network from others: not those into tunnels, unless there are no others. A
    /// VPN changes which paths work, but the machine stays where it is.
    pub(super) fn naming_gateways(&self) -> BTreeSet<String> {
        let is_tunnel = |gateway: &&Gateway| self.tunnels.contains(&gateway.interface);
        let all_tunnels = self.gateways.iter().all(|gateway| is_tunnel(&gateway));
        self.gateways
            .iter()
            .filter(|gateway| all_tunnels || !is_tunnel(gateway))
            .map(ToString::to_string)
            .collect()
    }

    /// Takes over the link-layer addresses that `before` knew for gateways that are still there: the neighbour table
    /// forgets a router that nobody talked to for a while, and that makes it no other network.
    pub(super) fn keep_macs(&mut self, before: &NetState) {
        self.gateways = std::mem::take(&mut self.gateways)
            .into_iter()
            .map(|gateway| match before.same_hop(&gateway) {
                Some(known) if gateway.mac.is_none() => known.clone(),
                _ => gateway,
            })
            .collect();
    }

    /// Whether this is the network of `before`, about which only link-layer addresses became known.
    pub(super) fn only_identifies(&self, before: &NetState) -> bool {
        self.addresses == before.addresses
            && self.tunnels == before.tunnels
            && self.gateways.len() == before.gateways.len()
            && self.gateways.iter().all(|gateway| {
                before
                    .same_hop(gateway)
                    .is_some_and(|known| known.mac.is_none() || known.mac == gateway.mac)
            })
    }

    /// Whether the link-layer address of some next hop is not known yet.
    pub(super) fn lacks_macs(&self) -> bool {
        self.gateways
            .iter()
            .any(|gateway| gateway.address.is_some() && gateway.mac.is_none())
    }

    fn same_hop(&self, gateway: &Gateway) -> Option<&Gateway> {
        self.gateways
            .iter()
            .find(|known| known.address == gateway.address && known.interface == gateway.interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Mac = Mac([2, 0x11, 0x22, 0x33, 0x44, 0x55]);

    fn survey() -> Survey {
        let link = |name: &str| Link {
            name: name.to_owned(),
            up: true,
            running: true,
            ..Link::default()
        };
        let address = |link, ip: &str| Address {
            link: Some(link),
            ip: ip.parse().unwrap(),
            tentative: false,
        };
        Survey {
            links: BTreeMap::from([
                (
                    1,
                    Link {
                        loopback: true,
                        ..link("lo")
                    },
                ),
                (2, link("eth0")),
                (
                    3,
                    Link {
                        tunnel: true,
                        ..link("wg0")
                    },
                ),
            ]),
            addresses: vec![
                address(1, "127.0.0.1"),
                address(1, "10.9.9.9"),
                address(2, "192.168.1.7"),
                address(2, "fe80::1"),
                address(2, "2001:db8::7"),
            ],
            routes: vec![
                DefaultRoute {
                    link: 2,
                    gateway: Some("192.168.1.1".parse().unwrap()),
                },
                DefaultRoute {
                    link: 3,
                    gateway: None,
                },
            ],
            neighbours: BTreeMap::from([((2, "192.168.1.1".parse().unwrap()), ROUTER)]),
        }
    }

    fn texts(state: &NetState) -> Vec<String> {
        state.gateways.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keeps_what_decides_which_paths_work() {
        let state = survey().state();
        let addresses = ["192.168.1.7", "2001:db8::7"].map(|ip| ip.parse().unwrap());
        assert_eq!(state.addresses, BTreeSet::from(addresses));
        assert_eq!(
            texts(&state),
            [
                "default dev wg0",
                "default via 192.168.1.1 dev eth0 lladdr 02:11:22:33:44:55"
            ]
        );
        assert_eq!(state.tunnels, BTreeSet::from(["wg0".to_owned()]));
    }

    #[test]
    fn neither_a_bridge_of_containers_nor_a_tunnel_is_part_of_the_name() {
        let mut survey = survey();
        let bridge = Link {
            name: "docker0".to_owned(),
            up: true,
            running: true,
            ..Link::default()
        };
        survey.links.insert(4, bridge);
        survey.addresses.push(Address {
            link: Some(4),
            ip: "172.17.0.1".parse().unwrap(),
            tentative: false,
        });
        let mut state = survey.state();
        assert_eq!(state.addresses.len(), 3);
        assert_eq!(state.uplinks.len(), 2);
        assert_eq!(
            state.naming_gateways(),
            BTreeSet::from(["default via 192.168.1.1 dev eth0 lladdr 02:11:22:33:44:55".to_owned()])
        );
        survey.routes.clear();
        state = survey.state();
        assert_eq!(state.uplinks, state.addresses);
    }

    #[test]
    fn an_interface_without_a_carrier_has_no_addresses_and_no_gateway() {
        let mut survey = survey();
        survey.links.get_mut(&2).unwrap().running = false;
        let state = survey.state();
        assert!(state.addresses.is_empty());
        assert_eq!(texts(&state), ["default dev wg0"]);
    }

    #[test]
    fn an_address_under_check_is_kept_apart() {
        let mut survey = survey();
        survey.addresses[4].tentative = true;
        let state = survey.state();
        assert_eq!(state.tentative, BTreeSet::from(["2001:db8::7".parse().unwrap()]));
        assert_eq!(state.addresses.len(), 1);
    }

    #[test]
    fn a_router_that_becomes_known_or_is_forgotten_is_no_other_network() {
        let known = survey().state();
        let mut unknown = survey();
        unknown.neighbours.clear();
        let unknown = unknown.state();
        assert!(unknown.lacks_macs() && !known.lacks_macs());
        assert!(known.only_identifies(&unknown));

        let mut forgotten = unknown.clone();
        forgotten.keep_macs(&known);
        assert_eq!(forgotten, known);
    }

    #[test]
    fn another_router_behind_the_same_address_is_another_network() {
        let home = survey().state();
        let mut other = survey();
        other
            .neighbours
            .insert((2, "192.168.1.1".parse().unwrap()), Mac([6; 6]));
        let mut other = other.state();
        other.keep_macs(&home);
        assert!(!other.only_identifies(&home));
    }
}
