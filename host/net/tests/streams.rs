//! Streams between two nodes: many at once, bounded, and with honest ends on every transport.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

mod common;

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{Over, TestNode, WEB, event, id, identities, members, pair, pair_with, start, within};
use peerup_model::{PathKind, PathPolicy, Transport};
use peerup_net::{NodeEvent, OpenError, PeerStream, StreamLimits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinSet,
};

const ANY: PathPolicy = PathPolicy::PreferDirect;
const ALL: [Over; 3] = [Over::Tcp, Over::Quic, Over::Websocket];

async fn connected(over: Over) -> (PeerStream, PeerStream, TestNode, TestNode) {
    let (mut server, client) = pair(over).await;
    let near = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
    let far = server.next_inbound().await.stream;
    (near, far, server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_streams_open_at_once_on_one_connection() {
    for over in ALL {
        let (mut server, client) = pair(over).await;
        let target = server.id();
        let echo = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            for _ in 0..100 {
                let mut stream = server.next_inbound().await.stream;
                tasks.spawn(async move {
                    let mut text = Vec::new();
                    stream.read_to_end(&mut text).await.unwrap();
                    stream.write_all(&text).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
            }
            tasks.join_all().await;
            server
        });
        let mut opens = JoinSet::new();
        for number in 0..100_u32 {
            let node = client.node.clone();
            opens.spawn(async move {
                let mut stream = node.open(target, WEB, ANY).await.unwrap();
                stream.write_all(&number.to_be_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut text = Vec::new();
                stream.read_to_end(&mut text).await.unwrap();
                assert_eq!(text, number.to_be_bytes());
            });
        }
        within(opens.join_all()).await;
        let server = within(echo).await.unwrap();
        let conns = client.node.streams().connections(&target);
        assert_eq!(conns.len(), 1, "{over:?}");
        assert_eq!(server.node.streams().counters().accepted(), 100);
        assert_eq!(server.node.streams().counters().refused(), 0);
        assert_eq!(conns[0].streams(), 0);
        assert_eq!((conns[0].bytes_in(), conns[0].bytes_out()), (400, 400));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_the_peers_share_are_reset_and_the_others_live() {
    for over in [Over::Tcp, Over::Quic] {
        let limits = StreamLimits {
            inbound_per_peer: 4,
            ..StreamLimits::default()
        };
        let (mut server, client) = pair_with(over, limits).await;
        let mut near = Vec::new();
        let mut far = Vec::new();
        for _ in 0..4 {
            near.push(within(client.node.open(server.id(), WEB, ANY)).await.unwrap());
            far.push(server.next_inbound().await.stream);
        }
        let mut extra = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
        let _ = extra.write_all(b"anybody there?").await;
        let error = within(extra.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{over:?}");
        assert_eq!(server.node.streams().counters().refused(), 1);
        for (near, far) in near.iter_mut().zip(&mut far) {
            near.write_all(b"x").await.unwrap();
            near.flush().await.unwrap();
            assert_eq!(within(far.read_u8()).await.unwrap(), b'x');
        }
        // A place that becomes free is given to the next one.
        far.pop();
        let mut next = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
        next.write_all(b"y").await.unwrap();
        next.flush().await.unwrap();
        let mut inbound = server.next_inbound().await;
        assert_eq!(within(inbound.stream.read_u8()).await.unwrap(), b'y');
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_takes_are_reset_once_the_queue_is_full() {
    let limits = StreamLimits {
        inbound_queue: 2,
        ..StreamLimits::default()
    };
    let (mut server, client) = pair_with(Over::Tcp, limits).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(within(client.node.open(server.id(), WEB, ANY)).await.unwrap());
    }
    for stream in streams.iter_mut().skip(2) {
        let error = within(stream.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    for stream in streams.iter_mut().take(2) {
        let mut far = server.next_inbound().await.stream;
        far.write_all(b"z").await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(within(stream.read_u8()).await.unwrap(), b'z');
    }
    assert_eq!(server.node.streams().counters().refused(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_close_travels_both_ways() {
    for over in ALL {
        for swapped in [false, true] {
            let (near, far, _server, _client) = connected(over).await;
            let (mut first, mut second) = if swapped { (far, near) } else { (near, far) };
            let payload = vec![7_u8; 300_000];
            let sent = payload.clone();
            let asking = tokio::spawn(async move {
                first.write_all(&sent).await.unwrap();
                first.shutdown().await.unwrap();
                let mut answer = Vec::new();
                first.read_to_end(&mut answer).await.unwrap();
                answer
            });
            let mut question = Vec::new();
            within(second.read_to_end(&mut question)).await.unwrap();
            assert_eq!(question.len(), payload.len());
            // The other direction is open until it is closed as well.
            second
                .write_all(b"answer after the end of the question")
                .await
                .unwrap();
            second.write_all(&payload).await.unwrap();
            second.shutdown().await.unwrap();
            let answer = within(asking).await.unwrap();
            assert_eq!(answer.len(), payload.len() + 36, "{over:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_close_works_through_split_halves() {
    for over in [Over::Tcp, Over::Quic] {
        let (near, far, _server, _client) = connected(over).await;
        let (mut near_read, mut near_write) = near.into_split();
        let (mut far_read, mut far_write) = far.into_split();
        let up = tokio::spawn(async move {
            near_write.write_all(&vec![1_u8; 2_000_000]).await.unwrap();
            near_write.shutdown().await.unwrap();
        });
        let down = tokio::spawn(async move {
            far_write.write_all(&vec![2_u8; 2_000_000]).await.unwrap();
            far_write.shutdown().await.unwrap();
        });
        let (mut at_near, mut at_far) = (Vec::new(), Vec::new());
        within(async {
            tokio::try_join!(
                near_read.read_to_end(&mut at_near),
                far_read.read_to_end(&mut at_far)
            )
        })
        .await
        .unwrap();
        within(up).await.unwrap();
        within(down).await.unwrap();
        assert_eq!((at_near.len(), at_far.len()), (2_000_000, 2_000_000), "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_is_read_as_a_reset() {
    for over in ALL {
        let (mut server, client) = pair(over).await;
        for round in 0..50 {
            let mut near = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
            near.write_all(b"half of a mess").await.unwrap();
            near.flush().await.unwrap();
            let mut far = server.next_inbound().await.stream;
            let (mut victim, breaker) = if round % 2 == 0 {
                (near, far)
            } else {
                let mut first = [0; 14];
                within(far.read_exact(&mut first)).await.unwrap();
                (far, near)
            };
            breaker.reset();
            let mut rest = Vec::new();
            let error = within(victim.read_to_end(&mut rest)).await;
            assert_eq!(
                error.map_err(|error| error.kind()),
                Err(ErrorKind::ConnectionReset),
                "{over:?}, round {round}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_in_the_middle_never_looks_complete() {
    for over in [Over::Tcp, Over::Quic] {
        let (mut server, client) = pair(over).await;
        let mut clean = 0;
        for _ in 0..200 {
            let mut near = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
            near.write_all(&[1; 20_000]).await.unwrap();
            near.flush().await.unwrap();
            let mut far = server.next_inbound().await.stream;
            let reader = tokio::spawn(async move {
                let mut text = Vec::new();
                far.read_to_end(&mut text).await.is_ok()
            });
            drop(near);
            clean += usize::from(within(reader).await.unwrap());
        }
        assert_eq!(clean, 0, "{over:?}: streams that looked complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_opens_to_two_new_peers_run_side_by_side() {
    let [a, b, c] = identities();
    let mut one = start(&a, members(&[id(&c)]), &[Over::Tcp]).await;
    let mut two = start(&b, members(&[id(&c)]), &[Over::Quic]).await;
    let client = start(&c, members(&[id(&a), id(&b)]), &[]).await;
    client.knows(&one).await;
    client.knows(&two).await;
    let (first, second) = within(async {
        tokio::join!(
            client.node.open(one.id(), WEB, ANY),
            client.node.open(two.id(), WEB, ANY)
        )
    })
    .await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.path(), PathKind::Direct(Transport::Tcp));
    assert_eq!(second.path(), PathKind::Direct(Transport::Quic));
    one.next_inbound().await;
    two.next_inbound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_nobody_serves_is_said_so() {
    for over in ALL {
        let (server, client) = pair(over).await;
        for _ in 0..2 {
            let error = within(client.node.open(server.id(), "/peerup/none/1.0.0", ANY))
                .await
                .unwrap_err();
            assert!(matches!(error, OpenError::UnsupportedProtocol { .. }), "{error}");
        }
        let error = within(client.node.open(server.id(), "nonsense", ANY))
            .await
            .unwrap_err();
        assert!(matches!(error, OpenError::Protocol { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_is_dialled_again() {
    let (mut server, client) = pair(Over::Tcp).await;
    drop(within(client.node.open(server.id(), WEB, ANY)).await.unwrap());
    server.next_inbound().await;
    let mut events = client.node.events();
    server.node.disconnect(client.id()).await;
    event(&mut events, |event| {
        matches!(event, NodeEvent::PeerDisconnected { .. })
    })
    .await;
    let mut stream = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
    stream.write_all(b"!").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(
        within(server.next_inbound().await.stream.read_u8())
            .await
            .unwrap(),
        b'!'
    );
}

/// Streams that are busy at the same time on one connection.
const BUSY: usize = 4;
/// What they carry together before their shares are looked at: many times what waits in buffers on the way.
const TOGETHER: u64 = 200 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn busy_streams_share_their_connection() {
    for over in ALL {
        let (mut server, client) = pair(over).await;
        let arrived: Arc<[AtomicU64; BUSY]> = Arc::default();
        let enough = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        for number in 0..BUSY {
            let mut near = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
            near.write_all(&[0]).await.unwrap();
            let mut far = server.next_inbound().await.stream;
            tasks.spawn(async move {
                let chunk = vec![0; 64 << 10];
                while near.write_all(&chunk).await.is_ok() {}
            });
            let (arrived, enough) = (arrived.clone(), enough.clone());
            tasks.spawn(async move {
                let mut chunk = vec![0; 64 << 10];
                while let Ok(count @ 1..) = far.read(&mut chunk).await {
                    arrived[number].fetch_add(count as u64, Ordering::Relaxed);
                    if arrived
                        .iter()
                        .map(|bytes| bytes.load(Ordering::Relaxed))
                        .sum::<u64>()
                        >= TOGETHER
                    {
                        enough.notify_one();
                    }
                }
            });
        }
        within(enough.notified()).await;
        let arrived: Vec<u64> = arrived
            .iter()
            .map(|bytes| bytes.load(Ordering::Relaxed))
            .collect();
        let even = TOGETHER / BUSY as u64;
        assert!(
            arrived.iter().all(|bytes| *bytes > even / 10),
            "{over:?}: {arrived:?}"
        );
        tasks.shutdown().await;
    }
}
