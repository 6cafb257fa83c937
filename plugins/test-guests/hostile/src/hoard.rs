//! Streams by the thousand, whole and half open, that nobody ever uses.

use std::future::pending;

use peerup_plugin_sdk::{Duplex, Error, PathPolicy, streams};

use crate::Details;

/// Opens streams to the peer, on a protocol of the plugin's own, and keeps them all.
pub(crate) async fn streams(details: &Details) -> Result<(), Error> {
    let mut kept = Vec::new();
    for _ in 0..details.count {
        kept.push(open(details).await?);
    }
    Ok(())
}

/// The same, each with its own half closed and the other one never read.
pub(crate) async fn half_open_streams(details: &Details) -> Result<(), Error> {
    let mut kept = Vec::new();
    for _ in 0..details.count {
        let stream = open(details).await?;
        stream.send().finish().await?;
        kept.push((stream.receive(), stream));
    }
    Ok(())
}

/// Closes its half of the stream that it was given, and neither reads nor returns.
pub(crate) async fn half_open(connection: Duplex) -> Result<(), Error> {
    connection.send().finish().await?;
    let _unread = connection.receive();
    pending().await
}

async fn open(details: &Details) -> Result<Duplex, Error> {
    let peer = if details.peer.is_empty() {
        "home"
    } else {
        &details.peer
    };
    streams::open(peer, "/peerup/p/hostile/hoard/1.0.0", PathPolicy::PreferDirect).await
}
