//! Host names in addresses that are dialled, looked up the system's own way at each dial: the hosts file, the local network's
//! names, the DNS servers of the network that the machine is in now.
//!
//! libp2p's resolver reads the system's configuration once. A machine that moves would keep asking the servers of
//! the network that it has left, and one that has no configuration yet would not start. It is left with
//! `/dnsaddr`, which the system cannot look up.

use std::{
    error::Error,
    fmt, io,
    net::IpAddr,
    ops::DerefMut,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt, TryFutureExt,
    future::{BoxFuture, Either, MapErr},
    stream::FuturesUnordered,
};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
};
use tokio::{sync::Semaphore, time::sleep};

/// Look-ups at once. Each holds a thread for as long as the system takes, which is long where no server answers.
const MAX_LOOKUPS: usize = 64;
/// How many addresses of one name are dialled.
const MAX_ADDRESSES: usize = 8;
/// How long an address may try before the next of the same name is dialled beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// A transport that takes `/dns`, `/dns4` and `/dns6` at the beginning of an address for another one.
pub(crate) struct Named<T> {
    inner: Arc<Mutex<T>>,
    look_up: LookUp,
}

/// Returns the addresses of a host.
type LookUp = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Why a name could not be dialled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamedError<E: Error + 'static> {
    /// The transport below.
    #[error(transparent)]
    Transport(E),
    /// The system does not know the name, or could not ask.
    #[error("the name {name} cannot be looked up: {source}")]
    LookUp {
        /// The name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The name has no address of the kind asked for.
    #[error("the name {name} has no {kind} address")]
    NoAddress {
        /// The name.
        name: String,
        /// `IPv4`, `IPv6`, or nothing where any would do.
        kind: &'static str,
    },
    /// The transport below does not take such addresses.
    #[error("the address {0} cannot be dialled")]
    NotSupported(Multiaddr),
}

impl<T> Named<T> {
    /// With the system's look-up.
    pub(crate) fn new(inner: T) -> Self {
        let turns = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Self::with(inner, move |name| {
            let turns = turns.clone();
            async move {
                let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
                // A task of its own: a look-up that nobody waits for any more goes on holding a thread, and counts.
                let looking = tokio::spawn(async move {
                    let _turn = turn;
                    let found = tokio::net::lookup_host((name, 0)).await?;
                    Ok(found.map(|address| address.ip()).collect())
                });
                looking.await.map_err(io::Error::other)?
            }
            .boxed()
        })
    }

    fn with(
        inner: T,
        look_up: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner: Arc::new(Mutex::new(inner)),
            look_up: Arc::new(look_up),
        }
    }
}

/// A host name at the beginning of an address.
struct Host {
    name: String,
    kind: &'static str,
    fits: fn(&IpAddr) -> bool,
}

impl Host {
    fn of(address: &Multiaddr) -> Option<Self> {
        let (name, kind, fits): (_, _, fn(&IpAddr) -> bool) = match address.iter().next()? {
            Protocol::Dns(name) => (name, "", |_| true),
            Protocol::Dns4(name) => (name, "IPv4", IpAddr::is_ipv4),
            Protocol::Dns6(name) => (name, "IPv6", IpAddr::is_ipv6),
            _ => return None,
        };
        let name = name.into_owned();
        Some(Self { name, kind, fits })
    }
}

type ToError<T> = fn(<T as Transport>::Error) -> NamedError<<T as Transport>::Error>;

impl<T> Transport for Named<T>
where
    T: Transport + Send + Unpin + 'static,
    T::Error: Send,
    T::Dial: Send,
    T::Output: Send,
{
    type Output = T::Output;
    type Error = NamedError<T::Error>;
    type ListenerUpgrade = MapErr<T::ListenerUpgrade, ToError<T>>;
    type Dial = Either<MapErr<T::Dial, ToError<T>>, BoxFuture<'static, Result<Self::Output, Self::Error>>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .listen_on(id, address)
            .map_err(|error| error.map(NamedError::Transport))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        match Host::of(&address) {
            None => {
                let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
                let dial = inner
                    .dial(address, opts)
                    .map_err(|error| error.map(NamedError::Transport))?;
                Ok(Either::Left(dial.map_err(NamedError::Transport as ToError<T>)))
            }
            Some(host) => {
                let work = dial_name(
                    self.inner.clone(),
                    (self.look_up)(host.name.clone()),
                    host,
                    address,
                    opts,
                );
                Ok(Either::Right(work.boxed()))
            }
        }
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Transport::poll(Pin::new(inner.deref_mut()), cx).map(|event| {
            event
                .map_upgrade(|upgrade| upgrade.map_err(NamedError::Transport as ToError<T>))
                .map_err(NamedError::Transport)
        })
    }
}

/// Looks a name up and dials what it stands for: one address after the other, the next beside those that have not come
/// up soon. The first that comes up is taken.
async fn dial_name<T>(
    inner: Arc<Mutex<T>>,
    looked_up: BoxFuture<'static, io::Result<Vec<IpAddr>>>,
    host: Host,
    address: Multiaddr,
    opts: DialOpts,
) -> Result<T::Output, NamedError<T::Error>>
where
    T: Transport,
    T::Error: Send + 'static,
    T::Dial: Send,
{
    let Host { name, kind, fits } = host;
    let found = match looked_up.await {
        Ok(found) => found,
        Err(source) => return Err(NamedError::LookUp { name, source }),
    };
    let mut waiting = found
        .into_iter()
        .filter(fits)
        .take(MAX_ADDRESSES)
        .filter_map(|ip| address.replace(0, |_| Some(ip.into())));
    let mut dialling = FuturesUnordered::new();
    let mut failure = NamedError::NoAddress { name, kind };
    loop {
        if let Some(next) = waiting.next() {
            let dial = {
                let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
                inner.dial(next, opts)
            };
            match dial {
                Ok(dial) => dialling.push(dial),
                Err(TransportError::MultiaddrNotSupported(address)) => {
                    failure = NamedError::NotSupported(address);
                    continue;
                }
                Err(TransportError::Other(error)) => {
                    failure = NamedError::Transport(error);
                    continue;
                }
            }
        }
        let is_last = waiting.size_hint().1 == Some(0);
        tokio::select! {
            biased;
            outcome = dialling.next() => match outcome {
                Some(Ok(output)) => return Ok(output),
                Some(Err(error)) => failure = NamedError::Transport(error),
                None => return Err(failure),
            },
            () = sleep(HEAD_START), if !is_last => {}
        }
    }
}

impl<T> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{pending, ready};
    use libp2p::core::{Endpoint, transport::PortUse};

    use super::*;

    /// Connects to 192.0.2.1 and 2001:db8::1, hangs at 192.0.2.9, refuses the rest and takes no UDP.
    #[derive(Clone, Default)]
    struct Below(Arc<Mutex<Vec<String>>>);

    impl Transport for Below {
        type Output = String;
        type Error = io::Error;
        type ListenerUpgrade = BoxFuture<'static, io::Result<String>>;
        type Dial = BoxFuture<'static, io::Result<String>>;

        fn listen_on(&mut self, _: ListenerId, _: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Ok(())
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            let text = address.to_string();
            self.0.lock().unwrap().push(text.clone());
            if text.contains("/udp/") {
                return Err(TransportError::MultiaddrNotSupported(address));
            }
            Ok(match text {
                text if text.contains("192.0.2.1/") || text.contains("2001:db8::1/") => {
                    ready(Ok(text)).boxed()
                }
                text if text.contains("192.0.2.9/") => pending().boxed(),
                _ => ready(Err(io::ErrorKind::ConnectionRefused.into())).boxed(),
            })
        }

        fn poll(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Poll::Pending
        }
    }

    const OPTS: DialOpts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    };

    /// Dials with what the name stands for, and returns what came of it and what was dialled below.
    async fn dial(address: &str, found: &[&str]) -> (Result<String, NamedError<io::Error>>, Vec<String>) {
        let below = Below::default();
        let found: Vec<IpAddr> = found.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut named = Named::with(below.clone(), move |name| {
            assert_eq!(name, "relay.example");
            ready(Ok(found.clone())).boxed()
        });
        let outcome = named.dial(address.parse().unwrap(), OPTS).unwrap().await;
        let dialled = below.0.lock().unwrap().clone();
        (outcome, dialled)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_address_that_comes_up_is_taken_and_one_that_hangs_holds_nobody_up() {
        let found = ["192.0.2.7", "192.0.2.9", "192.0.2.1", "192.0.2.2"];
        let (outcome, dialled) = dial("/dns4/relay.example/tcp/7777", &found).await;
        assert_eq!(outcome.unwrap(), "/ip4/192.0.2.1/tcp/7777");
        assert_eq!(dialled.len(), 3, "{dialled:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_kind_of_address_is_kept_and_the_rest_of_it_too() {
        let found = ["192.0.2.1", "2001:db8::1"];
        for (address, wanted) in [
            ("/dns/relay.example/tcp/1/ws", "/ip4/192.0.2.1/tcp/1/ws"),
            ("/dns4/relay.example/tcp/1", "/ip4/192.0.2.1/tcp/1"),
            ("/dns6/relay.example/tcp/1", "/ip6/2001:db8::1/tcp/1"),
            ("/ip4/192.0.2.1/tcp/2", "/ip4/192.0.2.1/tcp/2"),
        ] {
            assert_eq!(dial(address, &found).await.0.unwrap(), wanted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_says_what_it_was() {
        let of = async |address: &str, found: &[&str]| dial(address, found).await.0.unwrap_err().to_string();
        let none = of("/dns6/relay.example/tcp/1", &["192.0.2.1"]).await;
        assert_eq!(none, "the name relay.example has no IPv6 address");
        assert!(
            of("/dns/relay.example/tcp/1", &["192.0.2.7"])
                .await
                .contains("refused")
        );
        let udp = of("/dns/relay.example/udp/1", &["192.0.2.7"]).await;
        assert_eq!(udp, "the address /ip4/192.0.2.7/udp/1 cannot be dialled");

        let mut named = Named::with(Below::default(), |_| {
            ready(Err(io::ErrorKind::NotFound.into())).boxed()
        });
        let dial = named
            .dial("/dns/relay.example/tcp/1".parse().unwrap(), OPTS)
            .unwrap();
        let error = dial.await.unwrap_err().to_string();
        assert!(
            error.starts_with("the name relay.example cannot be looked up"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let mut named = Named::new(Below::default());
        let dial = named
            .dial("/dns4/localhost/tcp/1".parse().unwrap(), OPTS)
            .unwrap();
        assert!(matches!(dial.await, Err(NamedError::Transport(_))));
        assert_eq!(
            named.inner.lock().unwrap().0.lock().unwrap().as_slice(),
            ["/ip4/127.0.0.1/tcp/1"]
        );
    }
}
