//! Looking host names up, and the check of what they lead to.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::error::HostError;

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

/// Look-ups by the system at once. Each holds a thread for as long as the system's resolver takes, which is long where
/// no DNS server answers, and other work needs those threads, too.
const MAX_LOOKUPS: usize = 16;

type LookUp = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// How `host:port` becomes addresses. Cheap to clone.
#[derive(Clone)]
pub struct AddressLookup(Arc<LookUp>);

impl AddressLookup {
    /// The system's own way: the hosts file, DNS.
    pub fn system() -> Self {
        let turns = Arc::new(Semaphore::new(MAX_LOOKUPS));
        Self::new(move |target| {
            let turns = turns.clone();
            Box::pin(async move {
                let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
                // A task of its own: a look-up that nobody waits for any more goes on holding a thread, and counts.
                let looking = tokio::spawn(async move {
                    let _turn = turn;
                    let found = tokio::net::lookup_host(target).await?;
                    Ok(found.take(MAX_ADDRESSES).collect())
                });
                looking.await.map_err(io::Error::other)?
            })
        })
    }

    /// Another way; for tests.
    pub fn new(
        look_up: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(look_up))
    }

    /// Returns the addresses of `host:port`, without those that `allowed` refuses; its refusal where none is
    /// left. What is an address already is not looked up, and was checked as it stands.
    pub(crate) async fn addresses(
        &self,
        target: &str,
        mut allowed: impl FnMut(SocketAddr) -> Result<(), HostError>,
    ) -> Result<Vec<SocketAddr>, HostError> {
        if let Ok(address) = target.parse::<SocketAddr>() {
            return Ok(vec![address]);
        }
        let not_found = |why: &dyn fmt::Display| {
            HostError::NotFound(format!("the address {target} cannot be looked up: {why}"))
        };
        let found = self.0(target.to_owned())
            .await
            .map_err(|error| not_found(&error))?;
        let mut refusal = None;
        let mut addresses = Vec::new();
        for address in found.into_iter().take(MAX_ADDRESSES) {
            match allowed(address) {
                Ok(()) => addresses.push(address),
                Err(error) => refusal = Some(error),
            }
        }
        match (addresses.is_empty(), refusal) {
            (false, _) => Ok(addresses),
            (true, Some(refusal)) => Err(refusal),
            (true, None) => Err(not_found(&"it has no address")),
        }
    }
}

impl fmt::Debug for AddressLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressLookup")
    }
}
