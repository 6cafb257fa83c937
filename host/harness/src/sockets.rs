//! The sockets of one peer: its own listeners, and the servers of the scenario. Nothing leaves the process.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use peerup_engine::{AddressLookup, DatagramSocket, Duplex, Sockets, StreamListener};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    link::{self, End},
    scenario::{Server, Servers},
    servers::plain,
};

/// Connections that wait to be accepted, and datagrams that wait to be received.
const BACKLOG: usize = 128;
/// Where the host names of a scenario lead: addresses that are set aside for tests of networks (RFC 2544).
const FIRST_ADDRESS: u32 = u32::from_be_bytes([198, 18, 0, 1]);
/// What a port of 0 becomes first.
const FIRST_PORT: u16 = 40_000;

/// The sockets of one peer.
#[derive(Clone)]
pub(crate) struct MemorySockets(Arc<Inner>);

struct Inner {
    names: HashMap<String, Ipv4Addr>,
    tcp: BTreeMap<SocketAddr, Server>,
    udp: BTreeMap<SocketAddr, Server>,
    net: CancellationToken,
    state: Mutex<State>,
}

struct State {
    listeners: HashMap<SocketAddr, mpsc::Sender<Duplex>>,
    sockets: HashMap<SocketAddr, mpsc::Sender<Datagram>>,
    next_port: u16,
    loss: f64,
    dice: u64,
}

type Datagram = (Vec<u8>, SocketAddr);

impl MemorySockets {
    pub(crate) fn new(servers: &Servers, seed: u64, net: CancellationToken) -> Self {
        let mut names = HashMap::new();
        let mut next = FIRST_ADDRESS;
        let mut place = |map: &BTreeMap<String, Server>| -> BTreeMap<SocketAddr, Server> {
            let mut placed = BTreeMap::new();
            for (at, server) in map {
                let Some((host, port)) = at.rsplit_once(':') else {
                    continue;
                };
                let Ok(port) = port.parse() else { continue };
                let address = at.parse().unwrap_or_else(|_| {
                    let address = *names.entry(host.to_lowercase()).or_insert_with(|| {
                        next += 1;
                        Ipv4Addr::from(next - 1)
                    });
                    SocketAddr::from((address, port))
                });
                placed.insert(address, server.clone());
            }
            placed
        };
        let (tcp, udp) = (place(&servers.tcp), place(&servers.udp));
        Self(Arc::new(Inner {
            names,
            tcp,
            udp,
            net,
            state: Mutex::new(State {
                listeners: HashMap::new(),
                sockets: HashMap::new(),
                next_port: FIRST_PORT,
                loss: 0.0,
                dice: seed,
            }),
        }))
    }

    /// How names are looked up: those of the servers, and nothing else.
    pub(crate) fn lookup(&self) -> AddressLookup {
        let inner = self.0.clone();
        AddressLookup::new(move |target| {
            let found = inner.look_up(&target);
            Box::pin(async move { found })
        })
    }

    /// Sets the part of datagrams that is lost.
    pub(crate) fn set_loss(&self, loss: f64) {
        self.0.state().loss = loss.clamp(0.0, 1.0);
    }

    /// Connects to a listener of the plugin, once it is there; none where nobody listens.
    pub(crate) fn dial(&self, address: SocketAddr) -> Option<End> {
        let sender = self.0.state().listeners.get(&address)?.clone();
        let (near, far) = link::pair(Duration::ZERO, &self.0.net);
        sender.try_send(plain(far)).ok()?;
        Some(near)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up(&self, target: &str) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = target.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let port: u16 = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
        }
        match self.names.get(&host.to_lowercase()) {
            Some(address) => Ok(vec![SocketAddr::from((*address, port))]),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{host} is the host of no server in this scenario"),
            )),
        }
    }

    fn connect(&self, address: SocketAddr) -> io::Result<Duplex> {
        if let Some(server) = self.tcp.get(&address) {
            return server.connect(&self.net);
        }
        let listener = self.state().listeners.get(&address).cloned();
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = link::pair(Duration::ZERO, &self.net);
        let taken = listener.try_send(plain(far));
        taken.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(plain(near))
    }
}

impl State {
    /// The address that is bound: port 0 becomes a free one.
    fn bound(&mut self, wanted: SocketAddr) -> SocketAddr {
        let mut address = wanted;
        if address.port() == 0 {
            address.set_port(self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        }
        address
    }

    fn is_lost(&mut self) -> bool {
        // The high bits of a linear congruential generator (Knuth's MMIX constants): enough for dice.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let top = u32::try_from(self.dice >> 32).unwrap_or_default();
        f64::from(top) / f64::from(u32::MAX) < self.loss
    }
}

fn first(addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
    addresses
        .first()
        .copied()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

impl Sockets for MemorySockets {
    fn connect(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Duplex>> {
        Box::pin(async move { self.0.connect(first(&addresses)?) })
    }

    fn listen(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Box<dyn StreamListener>>> {
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(BACKLOG);
            let mut state = self.0.state();
            let address = state.bound(first(&addresses)?);
            if state
                .listeners
                .get(&address)
                .is_some_and(|taken| !taken.is_closed())
            {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            state.listeners.insert(address, sender);
            let listener = Listener {
                address,
                incoming: tokio::sync::Mutex::new(receiver),
            };
            Ok(Box::new(listener) as Box<dyn StreamListener>)
        })
    }

    fn bind(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>> {
        Box::pin(async move { self.datagrams(first(&addresses)?) })
    }

    fn associate(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>> {
        Box::pin(async move { self.datagrams(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0))) })
    }
}

impl MemorySockets {
    fn datagrams(&self, wanted: SocketAddr) -> io::Result<Box<dyn DatagramSocket>> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut state = self.0.state();
        let address = state.bound(wanted);
        if state
            .sockets
            .get(&address)
            .is_some_and(|taken| !taken.is_closed())
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.sockets.insert(address, sender.clone());
        drop(state);
        Ok(Box::new(Socket {
            net: self.0.clone(),
            address,
            answers: sender,
            incoming: Mutex::new(receiver),
        }))
    }
}

impl fmt::Debug for MemorySockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemorySockets")
    }
}

struct Listener {
    address: SocketAddr,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Duplex>>,
}

impl StreamListener for Listener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Duplex>> {
        Box::pin(async move {
            let next = self.incoming.lock().await.recv().await;
            next.ok_or_else(|| io::ErrorKind::NotConnected.into())
        })
    }
}

struct Socket {
    net: Arc<Inner>,
    address: SocketAddr,
    /// Where answers of servers go.
    answers: mpsc::Sender<Datagram>,
    incoming: Mutex<mpsc::Receiver<Datagram>>,
}

impl Socket {
    fn poll(&self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Datagram>> {
        self.incoming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .poll_recv(cx)
    }
}

fn copy_into(buffer: &mut [u8], (data, from): Datagram) -> (usize, SocketAddr) {
    let count = data.len().min(buffer.len());
    if let (Some(to), Some(data)) = (buffer.get_mut(..count), data.get(..count)) {
        to.copy_from_slice(data);
    }
    (count, from)
}

impl DatagramSocket for Socket {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn send<'a>(&'a self, data: &'a [u8], destination: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let (lost, to) = {
                let mut state = self.net.state();
                (state.is_lost(), state.sockets.get(&destination).cloned())
            };
            if lost {
                return Ok(());
            }
            // Like on a network, what finds no room or nobody is lost.
            if let Some(server) = self.net.udp.get(&destination) {
                if let Some(answer) = server.datagram(data) {
                    let _ = self.answers.try_send((answer, destination));
                }
            } else if let Some(to) = to {
                let _ = to.try_send((data.to_vec(), self.address));
            }
            Ok(())
        })
    }

    fn receive<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(async move {
            let next = std::future::poll_fn(|cx| self.poll(cx)).await;
            let datagram = next.ok_or(io::ErrorKind::NotConnected)?;
            Ok(copy_into(buffer, datagram))
        })
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let next = self
            .incoming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv();
        let datagram = next.map_err(|_| io::ErrorKind::WouldBlock)?;
        Ok(copy_into(buffer, datagram))
    }
}
