//! The transports and limits of a swarm, the same for nodes and relays.
//!
//! TCP with Noise and yamux, QUIC, WebSocket, names in addresses, and circuits over a relay. Whoever builds a swarm
//! brings the behaviour.
//!
//! libp2p's TLS writes session keys to the file that `SSLKEYLOGFILE` names. Removing the variable is not safe in a
//! process with threads, so [`swarm_with`] and [`server_swarm_with`] refuse to start while it is set.

use std::{num::NonZeroU8, time::Duration};

use libp2p::{
    PeerId, Swarm, SwarmBuilder, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    dns,
    identity::Keypair,
    metrics::Registry,
    noise, quic, relay,
    swarm::{self, NetworkBehaviour},
    tcp, websocket, yamux,
};

use crate::named::Named;

/// Streams on one yamux connection. Twice libp2p's default; at four times this the receive windows stop growing.
const YAMUX_STREAMS: usize = 1024;
/// Streams on one QUIC connection that each side may have open.
const QUIC_STREAMS: u32 = 4096;
/// What one QUIC stream may have in flight towards this node, in bytes.
const QUIC_STREAM_WINDOW: u32 = 16 << 20;
/// What one QUIC connection may have in flight towards this node, in bytes.
const QUIC_CONNECTION_WINDOW: u32 = 64 << 20;
/// How long a QUIC handshake may take; hole punching tries for as long.
const QUIC_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a silent QUIC connection lives, in milliseconds; keep-alives go out every five seconds.
const QUIC_IDLE_MILLIS: u32 = 20_000;
/// How long a dial may take with all its upgrades.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a connection lives that nobody keeps alive and that has no streams.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Addresses of one peer that are dialled at once. Hole punching offers up to twenty candidates.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(24).expect("24 is not zero");
/// Events of one connection that may wait for the swarm's loop before that connection waits.
const EVENT_BUFFER: usize = 64;
/// Inbound streams of one connection in negotiation at once: a browser opens dozens.
const NEGOTIATING_STREAMS: usize = 512;

/// Why no swarm could be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The process would write its session keys to a file.
    #[error("SSLKEYLOGFILE is set: session keys would be written to that file; unset it and start again")]
    KeyLog,
    /// No Noise keys could be made from the identity.
    #[error("the identity does not fit the Noise handshake: {0}")]
    Noise(#[from] noise::Error),
}

/// Builds a swarm that can use relays. The closure gets the relay client, which must be part of the behaviour.
///
/// Must run inside a tokio runtime.
pub async fn swarm_with<B: NetworkBehaviour>(
    keypair: Keypair,
    make_behaviour: impl FnOnce(&Keypair, relay::client::Behaviour) -> B,
) -> Result<Swarm<B>, TransportError> {
    refuse_key_log()?;
    let wire = wire(&keypair)?;
    let Ok(builder) = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|_| wire);
    let builder = builder
        .with_relay_client(noise::Config::new, yamux_config)?
        .with_behaviour(make_behaviour);
    let Ok(builder) = builder;
    Ok(builder
        .with_swarm_config(swarm_config)
        .with_connection_timeout(CONNECTION_TIMEOUT)
        .build())
}

/// Builds a swarm that uses no relays itself, for a relay.
///
/// Must run inside a tokio runtime.
pub async fn server_swarm_with<B: NetworkBehaviour>(
    keypair: Keypair,
    make_behaviour: impl FnOnce(&Keypair) -> B,
) -> Result<Swarm<B>, TransportError> {
    metered_swarm_with(keypair, &mut Registry::default(), make_behaviour).await
}

/// The same, and the registry gets the bytes of all its connections, by transport and direction.
///
/// Must run inside a tokio runtime.
pub async fn metered_swarm_with<B: NetworkBehaviour>(
    keypair: Keypair,
    registry: &mut Registry,
    make_behaviour: impl FnOnce(&Keypair) -> B,
) -> Result<Swarm<B>, TransportError> {
    refuse_key_log()?;
    let wire = wire(&keypair)?;
    let Ok(builder) = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|_| wire);
    let builder = builder
        .with_bandwidth_metrics(registry)
        .with_behaviour(make_behaviour);
    let Ok(builder) = builder;
    Ok(builder
        .with_swarm_config(swarm_config)
        .with_connection_timeout(CONNECTION_TIMEOUT)
        .build())
}

/// Everything that a node speaks: QUIC and TCP by address or name, and WebSocket.
fn wire(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, TransportError> {
    let direct = || -> Result<_, TransportError> {
        let tcp = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(keypair)?)
            .multiplex(yamux_config())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        let quic = quic::tokio::Transport::new(quic_config(quic::Config::new(keypair)))
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        Ok(quic.or_transport(tcp).map(|either, _| either.into_inner()))
    };
    // Looks up `/dnsaddr` only. Where the system has no DNS configuration yet, that alone does not work.
    let direct = match dns::tokio::Transport::system(direct()?) {
        Ok(direct) => direct,
        Err(error) => {
            tracing::warn!(%error, "the system's DNS configuration cannot be read; /dnsaddr addresses cannot be dialled");
            let nobody = dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            dns::tokio::Transport::custom(direct()?, nobody, dns::ResolverOpts::default())
        }
    };
    // The name stays inside: a TLS server is told which of its names was meant.
    let websocket = websocket::Config::new(Named::new(tcp::tokio::Transport::new(tcp::Config::default())))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(websocket
        .or_transport(Named::new(direct))
        .map(|either, _| either.into_inner())
        .boxed())
}

fn refuse_key_log() -> Result<(), TransportError> {
    match std::env::var_os("SSLKEYLOGFILE") {
        Some(_) => Err(TransportError::KeyLog),
        None => Ok(()),
    }
}

fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(YAMUX_STREAMS);
    config
}

fn quic_config(mut config: quic::Config) -> quic::Config {
    config.max_concurrent_stream_limit = QUIC_STREAMS;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config.max_connection_data = QUIC_CONNECTION_WINDOW;
    config.handshake_timeout = QUIC_HANDSHAKE_TIMEOUT;
    config.max_idle_timeout = QUIC_IDLE_MILLIS;
    config
}

fn swarm_config(config: swarm::Config) -> swarm::Config {
    config
        .with_dial_concurrency_factor(DIAL_CONCURRENCY)
        // A stream's first write carries the protocol; streams that need the answer ask for two (see `streams`).
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
        .with_per_connection_event_buffer_size(EVENT_BUFFER)
        .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS)
        .with_idle_connection_timeout(IDLE_TIMEOUT)
}
