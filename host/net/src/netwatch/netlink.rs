//! Reads the network's state over rtnetlink, and says when to read it again.
//!
//! The subscription only wakes: what its messages say is read afresh, so that a lost message costs nothing and a
//! flood of them needs no memory.

use std::{io, net::IpAddr, time::Duration};

use futures::{Stream, TryStreamExt as _};
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHopFlags, RouteType},
};
use netlink_sys::{AsyncSocket, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use rtnetlink::{MulticastGroup, RouteMessageBuilder};
use thiserror::Error;
use tokio::{task::JoinSet, time::timeout};

use super::survey::{Address, DefaultRoute, Link, MAX_ENTRIES, Mac, Survey};

/// What wakes the watch. Neighbours are left out: their entries change state all the time.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];
/// Room for the head of a message; nobody reads the rest.
const WAKE_BUFFER: usize = 256;
/// How long one survey may take. A router with the internet's whole table needs a second or two.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the state could not be read over netlink.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(super) enum NetlinkError {
    /// No socket: a sandbox without netlink.
    #[error("no netlink socket")]
    Socket(#[from] io::Error),
    /// The kernel refused a request, or its answer made no sense.
    #[error("a netlink request failed")]
    Request(#[from] rtnetlink::Error),
    /// The kernel did not answer in time.
    #[error("netlink gave no answer within {} s", SURVEY_TIMEOUT.as_secs())]
    Timeout,
}

/// A socket that is told of every change.
pub(super) struct Subscription {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Subscription {
    /// Subscribes. Must run inside a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let groups = GROUPS
            .iter()
            .fold(0, |groups, group| groups | 1 << (*group as u32).saturating_sub(1));
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(WAKE_BUFFER),
        })
    }

    /// Waits until something changed. Cancel safe: a message that is lost with the future would only have been
    /// thrown away.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer).await {
            Ok(()) => Ok(()),
            // The kernel dropped messages, so there were some.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Reads links, addresses, default routes and neighbours.
pub(super) async fn survey() -> Result<Survey, NetlinkError> {
    let (connection, handle, _unsolicited) = rtnetlink::new_connection()?;
    // Ends with this function, however it ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    timeout(SURVEY_TIMEOUT, read(&handle))
        .await
        .map_err(|_| NetlinkError::Timeout)?
}

async fn read(handle: &rtnetlink::Handle) -> Result<Survey, NetlinkError> {
    let mut survey = Survey::default();
    let links = collect(handle.link().get().execute(), link).await?;
    survey.links.extend(links);
    survey.addresses = collect(handle.address().get().execute(), address).await?;
    for request in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let routes = collect(handle.route().get(request).execute(), default_routes).await?;
        survey.routes.extend(routes.into_iter().flatten());
    }
    let gateways: Vec<_> = survey
        .routes
        .iter()
        .filter_map(|route| Some((route.link, route.gateway?)))
        .collect();
    let neighbours = collect(handle.neighbours().get().execute(), |message| {
        neighbour(message).filter(|(hop, _)| gateways.contains(hop))
    });
    survey.neighbours.extend(neighbours.await?);
    Ok(survey)
}

/// Reads a dump to its end, of which it keeps [`MAX_ENTRIES`].
async fn collect<M, T>(
    messages: impl Stream<Item = Result<M, rtnetlink::Error>>,
    keep: impl Fn(&M) -> Option<T>,
) -> Result<Vec<T>, rtnetlink::Error> {
    messages
        .try_fold(Vec::new(), |mut kept, message| {
            if kept.len() < MAX_ENTRIES {
                kept.extend(keep(&message));
            }
            std::future::ready(Ok(kept))
        })
        .await
}

fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let flags = message.header.flags;
    let link = Link {
        name,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Up | LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
        tunnel: is_tunnel(message),
    };
    Some((message.header.index, link))
}

/// A TAP device is of the kind `tun` too, but it is an Ethernet one, mostly a virtual machine's.
fn is_tunnel(message: &LinkMessage) -> bool {
    let kind = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        })
        .flatten()
        .find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind),
            _ => None,
        });
    let layer = message.header.link_layer_type;
    match kind {
        Some(InfoKind::Tun) => layer != LinkLayerType::Ether,
        Some(InfoKind::Wireguard | InfoKind::Xfrm) => true,
        Some(InfoKind::Other(kind)) if kind == "ovpn" => true,
        _ => layer == LinkLayerType::Ppp,
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut remote) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Local(ip) => local = Some(*ip),
            // On a point-to-point link this is the other end, and `Local` is ours.
            AddressAttribute::Address(ip) => remote = Some(*ip),
            _ => {}
        }
    }
    if flags.contains(AddressFlags::Dadfailed) {
        return None;
    }
    Some(Address {
        link: Some(message.header.index),
        ip: local.or(remote)?,
        tentative: flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic),
    })
}

/// The default route of a message: none, one, or one for each path of a multipath route. Of any table, since VPNs
/// and machines with two uplinks keep theirs in tables of their own.
fn default_routes(message: &RouteMessage) -> Option<Vec<DefaultRoute>> {
    let header = &message.header;
    let ip = matches!(header.address_family, AddressFamily::Inet | AddressFamily::Inet6);
    if !ip || header.destination_prefix_length != 0 || header.kind != RouteType::Unicast {
        return None;
    }
    let mut link = None;
    let mut routes = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::MultiPath(hops) => {
                let live = hops
                    .iter()
                    .filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead));
                routes.extend(live.map(|hop| DefaultRoute {
                    link: hop.interface_index,
                    gateway: next_hop(&hop.attributes),
                }));
            }
            _ => {}
        }
    }
    routes.extend(link.map(|link| DefaultRoute {
        link,
        gateway: next_hop(&message.attributes),
    }));
    Some(routes)
}

fn next_hop(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some((*ip).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => Some((*ip).into()),
        RouteAttribute::Via(via) => via_address(via),
        _ => None,
    })
}

/// An IPv4 route whose next hop has an IPv6 address.
fn via_address(via: &netlink_packet_route::route::RouteVia) -> Option<IpAddr> {
    use netlink_packet_route::route::RouteVia;
    match via {
        RouteVia::Inet(ip) => Some((*ip).into()),
        RouteVia::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn neighbour(message: &NeighbourMessage) -> Option<((u32, IpAddr), Mac)> {
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some((*ip).into()),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLocalAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })?;
    Some(((message.header.ifindex, ip), mac))
}
