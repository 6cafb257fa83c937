//! Where plugins' sockets come from: the system, or a network in memory for tests.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use futures::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    select,
    time::sleep,
};

use crate::duplex::Duplex;

/// How long one address has before the next is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Makes sockets. Grants and limits were looked at before.
pub trait Sockets: fmt::Debug + Send + Sync + 'static {
    /// Connects to the first address that answers.
    fn connect(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Duplex>>;

    /// Listens on the first address that can be had.
    fn listen(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Box<dyn StreamListener>>>;

    /// Binds a socket for datagrams to the first address that can be had.
    fn bind(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>>;

    /// Makes a socket that speaks with one address only, from any of its own.
    fn associate(&self, target: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>>;
}

/// Takes connections in.
pub trait StreamListener: Send + Sync + 'static {
    /// Where.
    fn local_address(&self) -> SocketAddr;

    /// Waits for the next one. Cancel safe.
    fn accept(&self) -> BoxFuture<'_, io::Result<Duplex>>;
}

/// Sends and receives datagrams.
pub trait DatagramSocket: Send + Sync + 'static {
    /// From where.
    fn local_address(&self) -> SocketAddr;

    /// Sends one, whole or not at all.
    fn send<'a>(&'a self, data: &'a [u8], destination: SocketAddr) -> BoxFuture<'a, io::Result<()>>;

    /// Waits for one. Cancel safe.
    fn receive<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>>;

    /// Takes one that is there already; `WouldBlock` where none is.
    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

/// The sockets of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSockets;

impl Sockets for SystemSockets {
    fn connect(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Duplex>> {
        Box::pin(async move { Ok(Duplex::tcp(race(addresses).await?)) })
    }

    fn listen(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Box<dyn StreamListener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(addresses.as_slice()).await?;
            let address = listener.local_addr()?;
            Ok(Box::new(Listener { listener, address }) as Box<dyn StreamListener>)
        })
    }

    fn bind(&self, addresses: Vec<SocketAddr>) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(addresses.as_slice()).await?;
            Ok(Box::new(Datagrams::new(socket, None)?) as Box<dyn DatagramSocket>)
        })
    }

    fn associate(&self, target: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn DatagramSocket>>> {
        Box::pin(async move {
            let any = match target {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(target).await?;
            Ok(Box::new(Datagrams::new(socket, Some(target))?) as Box<dyn DatagramSocket>)
        })
    }
}

/// Connects to the first address that answers; the next is tried once the one before has failed or is slow.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    running.extend(waiting.next().map(TcpStream::connect));
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let more = waiting.len() > 0;
        select! {
            biased;
            answered = running.next() => match answered {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    last = error;
                    running.extend(waiting.next().map(TcpStream::connect));
                }
                None => return Err(last),
            },
            () = sleep(NEXT_ADDRESS_AFTER), if more => running.extend(waiting.next().map(TcpStream::connect)),
        }
    }
}

struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl StreamListener for Listener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Duplex>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok(Duplex::tcp(stream))
        })
    }
}

struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
    /// The only address that it speaks with, if there is one.
    target: Option<SocketAddr>,
}

impl Datagrams {
    fn new(socket: UdpSocket, target: Option<SocketAddr>) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            target,
        })
    }
}

impl DatagramSocket for Datagrams {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn send<'a>(&'a self, data: &'a [u8], destination: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let sent = match self.target {
                Some(_) => self.socket.send(data).await,
                None => self.socket.send_to(data, destination).await,
            };
            sent.map(drop)
        })
    }

    fn receive<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.socket.recv_from(buffer))
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }
}
