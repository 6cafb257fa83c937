//! Pairing with joiners that do not behave: they stall, never say the last word, or come twice. And rights that
//! are taken away while they are in use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step is a failed test"
)]

use std::time::Duration;

use libp2p_identity::Keypair;
use peerup_api::{Client, InviteInfo, InviteOutcome, InviteRequest};
use peerup_daemon::{Daemon, DaemonLog, DaemonOptions, Mode};
use peerup_model::{INVITE_PROTOCOL, PathPolicy};
use peerup_net::{Node, NodeConfig, PeerStream, PolicyHandle, ProtocolTable};
use peerup_trust::{
    AccessPolicy, AuthorizedKeys, Entry, Invite, Joiner, Paired, PairingError, Refusal, encode_frame,
    fresh_nonce,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEADLINE: Duration = Duration::from_secs(30);

struct Inviter {
    folder: tempfile::TempDir,
    daemon: Daemon,
    client: Client,
}

impl Inviter {
    async fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "version: 1\nname: home\nnetwork:\n  listen_addresses:\n    - /ip4/127.0.0.1/tcp/0\ndaemon:\n  \
             cache_dir: cache\n{more}\n"
        );
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, text).unwrap();
        peerup_trust::create_identity(folder.path().join("identity.key")).unwrap();
        let mode = Mode::Reachable;
        let daemon = Daemon::start(DaemonOptions {
            config,
            mode,
            log: DaemonLog::default(),
        })
        .await
        .unwrap();
        let client = daemon.client();
        Self {
            folder,
            daemon,
            client,
        }
    }

    async fn invite(&self) -> (Invite, String) {
        let request = InviteRequest {
            name: None,
            ttl: None,
            services: Some(vec!["web".to_owned()]),
        };
        let info: InviteInfo = self.client.post("/v1/invite", &request).await.unwrap();
        (Invite::decode(&info.code).unwrap(), info.id)
    }

    fn keys(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("authorized_keys")).unwrap_or_default()
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("config.yaml")).unwrap()
    }

    /// Waits until nothing of the peer stands in the files.
    async fn has_forgotten(&self, peer: &Keypair) {
        let id = peer.public().to_peer_id().to_string();
        let forgotten = async {
            while self.keys().contains(&id) || self.config().contains(&id) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, forgotten).await.unwrap();
    }
}

/// Meets the inviter under the one-time identity of a code.
async fn meet(invite: &Invite) -> (Node, PeerStream) {
    let inviter = invite.inviter_peer();
    let mut keys = AuthorizedKeys::default();
    keys.add(Entry::new(inviter)).unwrap();
    let (node, _) = Node::start(
        NodeConfig::new(invite.one_time_keypair()),
        PolicyHandle::new(AccessPolicy::new(&keys)),
        ProtocolTable::default(),
    )
    .await
    .unwrap();
    for entry in invite.relays() {
        node.add_address(inviter, entry.address().clone()).await;
    }
    let opened = node
        .open(inviter, INVITE_PROTOCOL, PathPolicy::PreferDirect)
        .await;
    (node, opened.unwrap())
}

async fn send(stream: &mut PeerStream, payload: &[u8]) {
    stream.write_all(&encode_frame(payload).unwrap()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn receive(stream: &mut PeerStream) -> Vec<u8> {
    let read = async {
        let length = stream.read_u16().await.unwrap();
        let mut payload = vec![0; length.into()];
        stream.read_exact(&mut payload).await.unwrap();
        payload
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap()
}

/// Says hello and returns what became of it, with the acknowledgement that is still to be sent.
async fn greet(
    stream: &mut PeerStream,
    invite: &Invite,
    identity: &Keypair,
    name: &str,
) -> Result<(Paired, Vec<u8>), PairingError> {
    let (joiner, hello) = Joiner::start(invite, identity, name, fresh_nonce().unwrap()).unwrap();
    send(stream, &hello).await;
    joiner.handle_answer(&receive(stream).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_without_a_last_word_is_taken_out_and_the_code_is_used_once() {
    let inviter = Inviter::start("").await;
    let (invite, id) = inviter.invite().await;

    // One stalls before it says anything: it is in nobody's way.
    let (_stalled_node, _stalled) = meet(&invite).await;

    let silent = Keypair::generate_ed25519();
    let (node, mut stream) = meet(&invite).await;
    greet(&mut stream, &invite, &silent, "laptop").await.unwrap();
    let id_of_silent = silent.public().to_peer_id().to_string();
    assert!(inviter.keys().contains(&id_of_silent));
    // Meanwhile nobody else gets in by the code, and asking does not free it either.
    for _ in 0..2 {
        let (_second_node, mut second) = meet(&invite).await;
        let answer = greet(&mut second, &invite, &Keypair::generate_ed25519(), "thief").await;
        assert_eq!(answer.unwrap_err(), PairingError::Refused(Refusal::Used));
    }
    drop(stream);
    node.shutdown().await;
    inviter.has_forgotten(&silent).await;

    let honest = Keypair::generate_ed25519();
    let (_node, mut stream, paired, ack) = loop {
        let (node, mut stream) = meet(&invite).await;
        match greet(&mut stream, &invite, &honest, "laptop").await {
            Ok((paired, ack)) => break (node, stream, paired, ack),
            // The code is free again only once the name is gone as well as the key.
            Err(PairingError::Refused(Refusal::Used)) => node.shutdown().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(paired.peer, inviter.daemon.peer_id());
    send(&mut stream, &ack).await;
    stream.shutdown().await.unwrap();
    let outcome: InviteOutcome = inviter.client.wait(&format!("/v1/invite/{id}")).await.unwrap();
    assert_eq!(outcome.peer_id, honest.public().to_peer_id().to_string());
    assert_eq!(outcome.name, "laptop");
    let keys = inviter.keys();
    let line = keys
        .lines()
        .find(|line| line.starts_with(&outcome.peer_id))
        .unwrap();
    assert!(line.contains("services=web"), "{line}");

    let (_node, mut stream) = meet(&invite).await;
    let answer = greet(&mut stream, &invite, &Keypair::generate_ed25519(), "late").await;
    assert_eq!(answer.unwrap_err(), PairingError::Refused(Refusal::Used));
    inviter.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_gets_no_right_by_what_it_calls_itself() {
    let inviter =
        Inviter::start("services:\n  web:\n    local_address: localhost:80\n    allow: [bob]").await;
    for wanted in ["bob", &inviter.daemon.peer_id().to_base58().to_ascii_lowercase()] {
        let (invite, id) = inviter.invite().await;
        let (_node, mut stream) = meet(&invite).await;
        let joiner = Keypair::generate_ed25519();
        let (_, ack) = greet(&mut stream, &invite, &joiner, wanted).await.unwrap();
        send(&mut stream, &ack).await;
        let outcome: InviteOutcome = inviter.client.wait(&format!("/v1/invite/{id}")).await.unwrap();
        assert_ne!(outcome.name, wanted);
    }
    inviter.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_an_invite_takes_out_the_joiner_that_is_being_served() {
    let inviter = Inviter::start("").await;
    let (invite, id) = inviter.invite().await;
    let joiner = Keypair::generate_ed25519();
    let (_node, mut stream) = meet(&invite).await;
    let (_, ack) = greet(&mut stream, &invite, &joiner, "laptop").await.unwrap();
    let _: serde_json::Value = inviter
        .client
        .delete(&format!("/v1/invite/{id}"), None::<&()>)
        .await
        .unwrap();
    // Too late, and perhaps to nobody: the connection ends with the invite.
    let _ = stream.write_all(&encode_frame(&ack).unwrap()).await;
    inviter.has_forgotten(&joiner).await;
    inviter.daemon.stop().await;
}

/// Answers every connection with what it says, on a port of its own.
async fn echo() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_ends_the_tunnel_that_runs_on_it() {
    let service = format!("services:\n  web:\n    local_address: {}", echo().await);
    let (home, laptop) = (Inviter::start(&service).await, Inviter::start("").await);
    let request = InviteRequest {
        name: None,
        ttl: None,
        services: Some(vec!["web".to_owned()]),
    };
    let invite: InviteInfo = home.client.post("/v1/invite", &request).await.unwrap();
    let join = serde_json::json!({ "code": invite.code, "name": "laptop" });
    let _: serde_json::Value = laptop.client.post("/v1/join", &join).await.unwrap();
    let connect = serde_json::json!({ "peer": "home", "service": "web", "listen": "127.0.0.1:0" });
    let proxy: peerup_api::ConnectInfo = laptop.client.post("/v1/connect", &connect).await.unwrap();
    let mut tunnel = tokio::net::TcpStream::connect(&proxy.listen_address)
        .await
        .unwrap();
    let mut answer = [0; 5];
    tunnel.write_all(b"hello").await.unwrap();
    tunnel.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");

    // By hand, and not the whole entry: the connection between the two lives on.
    let narrowed = home.keys().replace("services=web", "services=ssh");
    std::fs::write(home.folder.path().join("authorized_keys"), narrowed).unwrap();

    let ended = tokio::time::timeout(DEADLINE, tunnel.read(&mut answer))
        .await
        .unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|count| count == 0));
    let peers: serde_json::Value = home.client.get("/v1/peers").await.unwrap();
    assert!(peers.to_string().contains("laptop"), "{peers}");
    laptop.daemon.stop().await;
    home.daemon.stop().await;
}
