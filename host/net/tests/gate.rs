//! Who gets in, what each role sees, and what happens to those who lose their right.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

mod common;

use std::time::Duration;

use common::{Over, SSH, WEB, event, id, identities, limited, members, pair, start, within};
use jiff::Timestamp;
use peerup_model::{INVITE_PROTOCOL, PathPolicy};
use peerup_net::{NodeEvent, OpenError};
use peerup_trust::AccessPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ANY: PathPolicy = PathPolicy::PreferDirect;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_turned_away_and_told_so() {
    for over in [Over::Tcp, Over::Quic] {
        let [a, b] = identities();
        let mut server = start(&a, AccessPolicy::default(), &[over]).await;
        let stranger = start(&b, members(&[id(&a)]), &[]).await;
        stranger.knows(&server).await;

        let error = within(stranger.node.open(server.id(), WEB, ANY))
            .await
            .unwrap_err();
        assert!(
            matches!(error, OpenError::NotAuthorized { .. }),
            "{over:?}: {error}"
        );
        let error = within(stranger.node.connect(server.id())).await.unwrap_err();
        assert!(
            matches!(error, OpenError::NotAuthorized { .. }),
            "{over:?}: {error}"
        );
        assert!(server.node.gate().denied() >= 1);
        assert_eq!(server.node.gate().admitted(), 0);
        assert!(server.inbound.try_recv().is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_dials_a_peer_that_its_own_policy_does_not_list() {
    let [a, b] = identities();
    let server = start(&a, members(&[id(&b)]), &[Over::Tcp]).await;
    let client = start(&b, AccessPolicy::default(), &[]).await;
    client.knows(&server).await;
    let error = within(client.node.open(server.id(), WEB, ANY)).await.unwrap_err();
    assert!(matches!(error, OpenError::NotListed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_peer_closes_its_live_connection() {
    for over in [Over::Tcp, Over::Quic] {
        let (mut server, client) = pair(over).await;
        let mut stream = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
        let held = server.next_inbound().await;
        let mut events = client.node.events();

        server.policy.replace(AccessPolicy::default());

        event(&mut events, |event| {
            matches!(event, NodeEvent::PeerDisconnected { .. })
        })
        .await;
        assert!(within(stream.read_u8()).await.is_err());
        assert_eq!(server.node.gate().expelled(), 1);
        drop(held);
        let error = within(client.node.open(server.id(), WEB, ANY)).await.unwrap_err();
        assert!(matches!(error, OpenError::NotAuthorized { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_side_that_closes_a_connection_sees_its_own_streams_end() {
    for over in [Over::Tcp, Over::Quic] {
        let (mut server, client) = pair(over).await;
        let far = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
        let (mut reader, mut writer) = server.next_inbound().await.stream.into_split();
        let reading = tokio::spawn(async move { reader.read_u8().await });
        // Nobody reads at the far end, so this waits for room.
        let writing = tokio::spawn(async move { while writer.write_all(&[7; 64 << 10]).await.is_ok() {} });

        server.policy.replace(AccessPolicy::default());

        assert!(within(reading).await.unwrap().is_err());
        within(writing).await.unwrap();
        drop(far);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_identity_sees_the_invite_protocol_only_until_it_expires() {
    let [a, b] = identities();
    let until = Timestamp::now() + Duration::from_secs(2);
    let mut server = start(
        &a,
        AccessPolicy::default().with_pairing([(id(&b), until)]),
        &[Over::Tcp],
    )
    .await;
    let joiner = start(&b, members(&[id(&a)]), &[]).await;
    joiner.knows(&server).await;

    let error = within(joiner.node.open(server.id(), WEB, ANY)).await.unwrap_err();
    assert!(matches!(error, OpenError::UnsupportedProtocol { .. }), "{error}");
    let _stream = within(joiner.node.open(server.id(), INVITE_PROTOCOL, ANY))
        .await
        .unwrap();
    let inbound = server.next_inbound().await;
    assert_eq!(inbound.protocol.as_ref(), INVITE_PROTOCOL);
    // A member of the server must not be offered it.
    let error = within(server.node.open(joiner.id(), INVITE_PROTOCOL, ANY))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::UnsupportedProtocol { .. }), "{error}");

    let mut events = server.node.events();
    event(&mut events, |event| {
        matches!(event, NodeEvent::PeerDisconnected { .. })
    })
    .await;
    assert!(Timestamp::now() >= until);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_member_sees_its_services_only_and_changes_reach_live_connections() {
    let [a, b] = identities();
    let mut server = start(&a, limited(id(&b), &["web"]), &[Over::Tcp]).await;
    let client = start(&b, members(&[id(&a)]), &[]).await;
    client.knows(&server).await;

    let _web = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
    assert_eq!(server.next_inbound().await.protocol.as_ref(), WEB);
    let error = within(client.node.open(server.id(), SSH, ANY)).await.unwrap_err();
    assert!(matches!(error, OpenError::UnsupportedProtocol { .. }), "{error}");

    server.policy.replace(limited(id(&b), &["web", "ssh"]));
    let _ssh = within(async {
        loop {
            match client.node.open(server.id(), SSH, ANY).await {
                Ok(stream) => return stream,
                // The connection's task has not read the new policy yet.
                Err(OpenError::UnsupportedProtocol { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(server.next_inbound().await.protocol.as_ref(), SSH);
}
