//! A UDP socket of a plugin: what it may send to, and what came. Bounded on every side.

use std::{
    collections::{HashSet, VecDeque},
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use crate::{
    access::{Access, Reach},
    error::HostError,
    sockets::{DatagramSocket, Sockets},
};

/// The largest payload of a datagram over IPv4.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 65_507;
/// The most datagrams that one call returns.
const MAX_RECEIVED: usize = 64;
/// Past so many bytes no more datagrams are added to an answer: they have to fit into the plugin's memory.
const MAX_RECEIVED_BYTES: usize = 1 << 20;
/// Addresses that have sent something and may be answered.
const MAX_KNOWN: usize = 1024;

/// A bound or connected socket.
pub(crate) struct Socket {
    socket: Box<dyn DatagramSocket>,
    pub(crate) address: SocketAddr,
    /// The only address that it talks to, if there is one.
    target: Option<SocketAddr>,
    /// What the plugin asked for, as it was granted.
    asked: (Reach, String),
    known: Mutex<Known>,
}

/// One datagram and where it came from.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) data: Vec<u8>,
    pub(crate) remote: SocketAddr,
}

impl Socket {
    /// Binds to the first of these addresses that can be had.
    pub(crate) async fn bind(
        sockets: &dyn Sockets,
        asked: &str,
        addresses: Vec<SocketAddr>,
    ) -> io::Result<Self> {
        let asked = (Reach::UdpBind, asked.to_owned());
        Ok(Self::new(sockets.bind(addresses).await?, None, asked))
    }

    /// Makes a socket for the first of these addresses that there is a way to. Nothing is sent.
    pub(crate) async fn connect(
        sockets: &dyn Sockets,
        asked: &str,
        addresses: Vec<SocketAddr>,
    ) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for target in addresses {
            match sockets.associate(target).await {
                Ok(socket) => {
                    let asked = (Reach::UdpConnect, asked.to_owned());
                    return Ok(Self::new(socket, Some(target), asked));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn new(socket: Box<dyn DatagramSocket>, target: Option<SocketAddr>, asked: (Reach, String)) -> Self {
        Self {
            address: socket.local_address(),
            socket,
            target,
            asked,
            known: Mutex::default(),
        }
    }

    /// Whether what it was made for is still granted.
    pub(crate) fn still_granted(&self, access: &Access) -> Result<(), HostError> {
        let (reach, asked) = &self.asked;
        access.address(*reach, asked)
    }

    /// Tells where a datagram would go. `granted` is asked for an address that has sent nothing yet.
    pub(crate) fn destination(
        &self,
        remote: Option<&str>,
        granted: impl FnOnce(&str) -> Result<(), HostError>,
    ) -> Result<SocketAddr, HostError> {
        match (self.target, remote) {
            (Some(target), None) => Ok(target),
            (Some(target), Some(_)) => Err(HostError::Invalid(format!(
                "this socket is connected to {target} and takes no other address"
            ))),
            (None, None) => Err(HostError::Invalid(
                "this socket is not connected: say where the datagram goes".to_owned(),
            )),
            (None, Some(remote)) => {
                let address: SocketAddr = remote.parse().map_err(|_| {
                    HostError::Invalid(format!("{:?} is not an address with a port", clip(remote)))
                })?;
                let has_sent = self.lock().addresses.contains(&address);
                if !has_sent {
                    granted(&address.to_string())?;
                }
                Ok(address)
            }
        }
    }

    /// Sends one datagram.
    pub(crate) async fn send(&self, data: &[u8], destination: SocketAddr) -> Result<(), HostError> {
        check_length(data)?;
        let sent = self.socket.send(data, destination).await;
        sent.map_err(|error| failure(destination, &error))
    }

    /// Waits for one datagram at least and takes what else is there.
    pub(crate) async fn receive(&self, max: u32) -> Result<Vec<Datagram>, HostError> {
        let max = usize::try_from(max).unwrap_or(MAX_RECEIVED).min(MAX_RECEIVED);
        if max == 0 {
            return Err(HostError::Invalid(
                "receiving at most 0 datagrams makes no sense".to_owned(),
            ));
        }
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        let mut received = Vec::new();
        let mut bytes = 0;
        while received.len() < max && bytes < MAX_RECEIVED_BYTES {
            let next = match received.is_empty() {
                true => self.socket.receive(&mut buffer).await,
                false => self.socket.try_receive(&mut buffer),
            };
            match next {
                Ok((count, remote)) => {
                    bytes += count;
                    self.lock().add(remote);
                    let data = buffer.get(..count).unwrap_or_default().to_vec();
                    received.push(Datagram { data, remote });
                }
                Err(_) if !received.is_empty() => break,
                Err(error) => return Err(failure(self.target.unwrap_or(self.address), &error)),
            }
        }
        Ok(received)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(address: SocketAddr, error: &io::Error) -> HostError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            HostError::Refused(format!("nothing takes datagrams on {address}"))
        }
        _ => HostError::Unreachable(format!("{address} cannot be reached: {error}")),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The last addresses that have sent something.
#[derive(Default)]
struct Known {
    addresses: HashSet<SocketAddr>,
    order: VecDeque<SocketAddr>,
}

impl Known {
    fn add(&mut self, address: SocketAddr) {
        if !self.addresses.insert(address) {
            return;
        }
        self.order.push_back(address);
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.addresses.remove(&oldest);
        }
    }
}

/// Refuses what no datagram can hold.
pub(crate) fn check_length(data: &[u8]) -> Result<(), HostError> {
    match data.len() {
        0..=MAX_DATAGRAM_BYTES => Ok(()),
        longer => Err(HostError::Invalid(format!(
            "a datagram holds at most {MAX_DATAGRAM_BYTES} bytes, not {longer}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_senders_are_remembered() {
        let mut known = Known::default();
        for port in 1..=2000_u16 {
            known.add(SocketAddr::from(([10, 0, 0, 1], port)));
            known.add(SocketAddr::from(([10, 0, 0, 1], port)));
        }
        assert_eq!((known.addresses.len(), known.order.len()), (MAX_KNOWN, MAX_KNOWN));
        assert!(known.addresses.contains(&SocketAddr::from(([10, 0, 0, 1], 2000))));
        assert!(!known.addresses.contains(&SocketAddr::from(([10, 0, 0, 1], 976))));
    }
}
