//! The joining side: meets the inviter under the one-time identity of the code, proves its real one, and
//! writes the inviter and the relays down.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_api::{JoinOutcome, JoinRequest};
use peerup_model::{ErrorCode, Failure, INVITE_PROTOCOL, PathPolicy, PeerName};
use peerup_net::{
    Node, NodeConfig, OpenError, PeerStream, PolicyHandle, ProtocolTable, RelayAddress, RelayRefusal,
};
use peerup_trust::{
    AccessPolicy, AuthorizedKeys, Entry, Invite, InviteError, Joiner, Paired, PairingError, Refusal,
    fresh_nonce,
};

use super::wire;
use crate::app::App;

/// How long to wait for the inviter's end after the acknowledgement: it tells its relays meanwhile.
const LAST_READ: Duration = Duration::from_secs(10);

/// Reads the code of an invite that has not expired.
///
/// # Errors
/// It is none, or its time is over.
pub fn read_code(code: &str) -> Result<Invite, Failure> {
    let invite = Invite::decode(code).map_err(|error| code_failure(&error))?;
    if invite.is_expired(Timestamp::now()) {
        return Err(
            Failure::new(ErrorCode::TimedOut, "this invite code has expired").with_hint(
                "ask for a new one: peerup invite, on the other machine; if it is fresh, compare both clocks",
            ),
        );
    }
    Ok(invite)
}

/// Joins with a code. When this returns both sides know each other, by key and by name.
pub(crate) async fn join(app: &Arc<App>, request: JoinRequest) -> Result<JoinOutcome, Failure> {
    let invite = read_code(&request.code)?;
    let inviter = invite.inviter_peer();
    if inviter == app.peer_id() {
        return Err(
            Failure::new(ErrorCode::Invalid, "this is an invite of this very node")
                .with_hint("use the code on the other machine"),
        );
    }
    let own_name = own_name(app, request.name.as_deref())?;
    tokio::time::timeout(wire::PAIRING_TIME, meet(app, &invite, &own_name))
        .await
        .unwrap_or_else(|_| {
            Err(Failure::new(
                ErrorCode::TimedOut,
                "the inviter did not answer within 30 seconds",
            )
            .with_hint("is `peerup invite` still waiting there, or its daemon still running?"))
        })
}

/// Runs the exchange on a short-lived node of its own, under the one-time identity.
async fn meet(app: &Arc<App>, invite: &Invite, own_name: &str) -> Result<JoinOutcome, Failure> {
    let inviter = invite.inviter_peer();
    let relays = relay_addresses(invite);
    let config = NodeConfig {
        relays: relays.clone(),
        reserve: false,
        ..NodeConfig::new(invite.one_time_keypair())
    };
    let policy = one_time_policy(inviter, &relays)?;
    let (node, _inbound) = Node::start(config, policy, ProtocolTable::default())
        .await
        .map_err(|error| Failure::new(ErrorCode::Failed, format!("the pairing cannot start: {error}")))?;
    for entry in invite.relays().iter().filter(|entry| entry.peer() == inviter) {
        node.add_address(inviter, entry.address().clone()).await;
    }
    let met = async {
        let mut stream = node
            .open(inviter, INVITE_PROTOCOL, PathPolicy::PreferDirect)
            .await
            .map_err(|error| unreached(&error))?;
        exchange(app, &mut stream, invite, own_name).await
    }
    .await;
    node.shutdown().await;
    met
}

/// Proves who this is and checks the inviter's proof. The inviter is written down before it hears the last
/// word: should this disk be full, both sides know nothing of each other and the code stays good.
async fn exchange(
    app: &Arc<App>,
    stream: &mut PeerStream,
    invite: &Invite,
    own_name: &str,
) -> Result<JoinOutcome, Failure> {
    let nonce = fresh_nonce().map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    let (machine, hello) = Joiner::start(invite, &app.identity, own_name, nonce)
        .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    // A refusal may have come, and the stream be half gone, before the hello is out: the answer tells more.
    let sent = wire::send(stream, &hello).await;
    let answer = match wire::receive(stream).await {
        Ok(answer) => answer,
        Err(error) => return Err(broken(&sent.err().unwrap_or(error))),
    };
    let (paired, ack) = machine.handle_answer(&answer).map_err(|error| match error {
        PairingError::Refused(refusal) => refused(refusal),
        error => Failure::new(ErrorCode::Denied, error.to_string())
            .with_hint("ask for a new code, over a channel that you trust"),
    })?;
    let outcome = write_down(app, invite, paired).await?;
    wire::send(stream, &ack).await.map_err(|error| broken(&error))?;
    let _ = tokio::io::AsyncWriteExt::shutdown(stream).await;
    // The inviter's end says that it has read the acknowledgement, and that its relays know this node. The
    // pairing does not hang on it, so it has a time of its own.
    let mut rest = [0_u8; 1];
    let _ = tokio::time::timeout(LAST_READ, tokio::io::AsyncReadExt::read(stream, &mut rest)).await;
    Ok(outcome)
}

/// Writes the inviter into `authorized_keys` and `names:`, and the relays into the config.
async fn write_down(app: &Arc<App>, invite: &Invite, paired: Paired) -> Result<JoinOutcome, Failure> {
    let relays: Vec<peerup_config::RelayAddress> = invite
        .relays()
        .iter()
        .filter(|entry| entry.peer() != invite.inviter_peer())
        .filter_map(|entry| entry.full_address().to_string().parse().ok())
        .collect();
    let wanted = super::name_for(&paired);
    let holds = app
        .access
        .entry(&paired.peer)
        .is_some_and(|entry| !entry.is_expired(Timestamp::now()));
    if !holds {
        let mut entry = Entry::new(paired.peer);
        entry.comment = Some(format!(
            "{wanted}, paired {}",
            Timestamp::now().strftime("%Y-%m-%d")
        ));
        app.edit_access(move |access| access.set(entry)).await?;
    }
    let name = app.write_name(wanted, paired.peer).await?;
    let written = relays.clone();
    app.edit_config(move |editor| {
        written
            .iter()
            .try_for_each(|relay| editor.add_relay(relay).map(drop))
    })
    .await?;
    for entry in invite.relays().iter().filter(|entry| entry.peer() == paired.peer) {
        app.node.add_address(paired.peer, entry.address().clone()).await;
    }
    tracing::info!(peer = %paired.peer, %name, "paired");
    Ok(JoinOutcome {
        peer_id: paired.peer.to_base58(),
        name: name.to_string(),
        relays: relays.iter().map(ToString::to_string).collect(),
    })
}

fn relay_addresses(invite: &Invite) -> Vec<RelayAddress> {
    let inviter = invite.inviter_peer();
    invite
        .relays()
        .iter()
        .filter(|entry| entry.peer() != inviter)
        .map(|entry| RelayAddress {
            peer: entry.peer(),
            addresses: vec![entry.address().clone()],
        })
        .collect()
}

/// The one-time node knows the inviter and the relays, nobody else.
fn one_time_policy(inviter: PeerId, relays: &[RelayAddress]) -> Result<PolicyHandle, Failure> {
    let mut keys = AuthorizedKeys::default();
    keys.add(Entry::new(inviter))
        .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    let infra: HashSet<PeerId> = relays.iter().map(|relay| relay.peer).collect();
    Ok(PolicyHandle::new(AccessPolicy::new(&keys).with_infra(infra)))
}

fn own_name(app: &App, given: Option<&str>) -> Result<String, Failure> {
    match given {
        None => Ok(crate::own_name(&app.config(), &app.peer_id()).to_string()),
        Some(given) => given
            .to_ascii_lowercase()
            .parse::<PeerName>()
            .map(|name| name.to_string())
            .map_err(|error| Failure::new(ErrorCode::Invalid, error.to_string())),
    }
}

fn code_failure(error: &InviteError) -> Failure {
    Failure::new(
        ErrorCode::Invalid,
        format!("this is no valid invite code: {error}"),
    )
    .with_hint("copy it whole; dashes, spaces and case do not matter")
}

fn unreached(error: &OpenError) -> Failure {
    match error {
        OpenError::NotAuthorized { .. } | OpenError::UnsupportedProtocol { .. } => {
            Failure::new(ErrorCode::Denied, format!("this code lets nobody in: {error}")).with_hint(
                "it was used, cancelled, or is not of this inviter; ask for a new one: peerup invite",
            )
        }
        OpenError::RelayRefused {
            reason: RelayRefusal::Denied,
            ..
        } => Failure::new(ErrorCode::Denied, format!("this code lets nobody in: {error}")).with_hint(
            "it was cancelled, is not of this inviter, or the relay was started anew since; \
             ask for a new one: peerup invite",
        ),
        OpenError::RelayRefused { .. } => Failure::new(
            ErrorCode::Unreachable,
            format!("the relay does not connect this code: {error}"),
        )
        .with_hint(
            "the inviter is gone, or the code was used or cancelled; ask for a new one: peerup invite",
        ),
        _ => Failure::new(
            ErrorCode::Unreachable,
            format!("the inviter was not reached: {error}"),
        )
        .with_hint("is the relay up, and is `peerup invite` still waiting on the other machine?"),
    }
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Used => Failure::new(ErrorCode::Denied, "this invite code was used already"),
        Refusal::Expired => Failure::new(
            ErrorCode::TimedOut,
            "this invite code has expired or was cancelled",
        ),
        Refusal::WrongProof => Failure::new(
            ErrorCode::Denied,
            "the inviter did not accept the proof of this code",
        ),
        _ => Failure::new(
            ErrorCode::Failed,
            "the inviter could not write this node down; see its log",
        ),
    }
    .with_hint("ask for a new one: peerup invite, on the other machine")
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(
        ErrorCode::Unreachable,
        format!("the connection to the inviter broke: {error}"),
    )
    .with_hint("try again; the code is still good unless it was used")
}
