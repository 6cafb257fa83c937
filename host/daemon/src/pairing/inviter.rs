//! The inviting side: hands out a code, lets the one identity in that it stands for, and writes the peer
//! that proves itself into `authorized_keys` and `names:`.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use peerup_api::{InviteInfo, InviteOutcome, InviteRequest};
use peerup_model::{ErrorCode, Failure, PeerName, ServiceName};
use peerup_net::{InboundStream, PeerStream};
use peerup_trust::{
    AdmitRequest, Entry, Invite, InviteRelay, Inviter, InviterAwaitingAck, MAX_INVITE_RELAYS, Paired,
    Refusal, Token, fresh_nonce, timestamp_to_minutes,
};
use tokio::sync::watch;

use super::{relays, wire};
use crate::{
    app::App,
    invites::{OpenInvite, State},
};

/// Invites that one node keeps open at once.
const MAX_OPEN: usize = 16;
/// The longest that a code may be good for; a relay admits a one-time identity for no longer.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_TTL: Duration = Duration::from_secs(600);
/// How long to wait for a reservation before a code is handed out that only relays could make work.
const RESERVATION_WAIT: Duration = Duration::from_secs(15);
/// How long after its end a code is still told apart from an unknown one.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Makes an invite: the gate and the relays know its one-time identity when this returns.
pub(crate) async fn create(app: &Arc<App>, request: InviteRequest) -> Result<InviteInfo, Failure> {
    let ttl = read_ttl(request.ttl.as_deref())?;
    let own_name = own_name(app, request.name.as_deref())?;
    let services = read_services(request.services)?;
    if app
        .invites
        .lock()
        .values()
        .filter(|invite| invite.is_open())
        .count()
        >= MAX_OPEN
    {
        return Err(Failure::new(
            ErrorCode::Conflict,
            format!("{MAX_OPEN} invites are open already"),
        )
        .with_hint("wait until one is used or expires"));
    }
    let expires = Timestamp::now() + ttl;
    let token = Token::generate().map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    let (entries, relay_peers, mut notes) = meeting_places(app).await?;
    let invite = Invite::new(
        token.clone(),
        own_key(app)?,
        timestamp_to_minutes(expires),
        entries,
    )
    .map_err(|error| Failure::new(ErrorCode::Failed, format!("the invite cannot be made: {error}")))?;
    let one_time = invite.one_time_keypair().public().to_peer_id();
    app.access.admit_pairing(one_time, expires + REMEMBERED);
    let until = invite.expires_minutes();
    let mut reached = 0_usize;
    for relay in &relay_peers {
        let circuit = AdmitRequest::Circuit {
            peer: one_time,
            until,
        };
        match relays::ask(app, *relay, &circuit).await {
            Ok(()) => reached += 1,
            Err(note) => notes.push(note),
        }
    }
    if !relay_peers.is_empty() && reached == 0 && relay_peers.len() == invite.relays().len() {
        app.access.forget_pairing(&one_time);
        return Err(
            Failure::new(ErrorCode::Unreachable, "no relay lets the invited peer in")
                .with_hint(notes.join("\n")),
        );
    }
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    let id = format!("invite-{}", data_encoding::HEXLOWER.encode(&random));
    let open = OpenInvite {
        id: id.clone(),
        token,
        own_name,
        services,
        relays: relay_peers,
        expires,
        state: watch::Sender::new(State::Open),
    };
    app.invites.lock().insert(one_time, open);
    expire_later(app, one_time, ttl);
    Ok(InviteInfo {
        id,
        code: invite.encode(),
        expires: expires.to_string(),
        notes,
    })
}

/// Waits until the invite was used, and tells by whom.
pub(crate) async fn outcome(app: &App, id: &str) -> Result<InviteOutcome, Failure> {
    let (_, invite) = app.invites.by_id(id).ok_or_else(|| unknown(id))?;
    let mut state = invite.state.subscribe();
    let ended = state
        .wait_for(|state| !matches!(state, State::Open | State::Claimed | State::Used))
        .await;
    match ended.as_deref() {
        Ok(State::Joined(outcome)) => Ok(outcome.clone()),
        Ok(State::Expired) => Err(
            Failure::new(ErrorCode::TimedOut, "nobody joined before the code expired")
                .with_hint("make a new one with: peerup invite, and a longer --ttl if need be"),
        ),
        Ok(State::Cancelled) => Err(Failure::new(
            ErrorCode::Conflict,
            format!("the invite {id} was cancelled before anybody joined"),
        )
        .with_hint("make a new one with: peerup invite")),
        _ => Err(Failure::new(ErrorCode::Interrupted, "the invite ended early")),
    }
}

/// Ends an invite that was not used.
pub(crate) fn cancel(app: &App, id: &str) -> Result<(), Failure> {
    let (one_time, invite) = app.invites.by_id(id).ok_or_else(|| unknown(id))?;
    // A joiner that is being served finds the invite cancelled in the end, and is taken out again.
    invite.state.send_if_modified(|state| {
        let waits = matches!(state, State::Open | State::Claimed);
        if waits {
            *state = State::Cancelled;
        }
        waits
    });
    app.access.forget_pairing(&one_time);
    app.invites.lock().remove(&one_time);
    Ok(())
}

/// Serves the pairing protocol to whoever the gate let in for it.
pub(crate) async fn handle_joiner(app: &Arc<App>, inbound: InboundStream) {
    let one_time = inbound.peer;
    let invite = app.invites.lock().get(&one_time).cloned();
    let mut stream = inbound.stream;
    let Some(invite) = invite else {
        stream.reset();
        return;
    };
    if let Err(error) = serve(app, &mut stream, one_time, &invite).await {
        tracing::warn!(
            error,
            "a pairing did not come about; the code stays good until it is used, cancelled or over"
        );
    }
}

/// Runs the exchange. Each wait for the joiner has a deadline of its own, so that what was written can be
/// taken back when the last word does not come.
async fn serve(
    app: &Arc<App>,
    stream: &mut PeerStream,
    one_time: PeerId,
    invite: &OpenInvite,
) -> Result<(), String> {
    let hello = wire::receive(stream).await.map_err(|error| error.to_string())?;
    let nonce = fresh_nonce().map_err(|error| error.to_string())?;
    let own = own_key(app).map_err(|failure| failure.to_string())?;
    let machine = Inviter::new(invite.token.clone(), own, one_time, &invite.own_name, nonce);
    let proven = match machine.handle_hello(&hello) {
        Ok(proven) => proven,
        Err(error) => {
            if let Some(refusal) = error.refusal() {
                refuse(stream, refusal).await;
            }
            return Err(error.to_string());
        }
    };
    // Claimed after the proof: a joiner that stalls before it keeps nobody else from joining.
    if let Err(refusal) = invite.claim(Timestamp::now()) {
        refuse(stream, refusal).await;
        return Err(format!("a joiner was told: {refusal}"));
    }
    let joined = let_in(app, stream, invite, proven).await;
    if joined.is_err() {
        invite.release(Timestamp::now());
    }
    joined
}

/// Lets the joiner that holds the claim in. On an error it is as if it had never come.
async fn let_in(
    app: &Arc<App>,
    stream: &mut PeerStream,
    invite: &OpenInvite,
    (awaiting, joiner, answer): (InviterAwaitingAck, Paired, Vec<u8>),
) -> Result<(), String> {
    let written = match write_joiner(app, invite, &joiner).await {
        Ok(written) => written,
        Err(failure) => {
            refuse(stream, Refusal::Internal).await;
            return Err(failure.to_string());
        }
    };
    let exchange = async {
        wire::send(stream, &answer).await?;
        wire::receive(stream).await
    };
    let acknowledged = tokio::select! {
        biased;
        () = app.shutdown.cancelled() => Err(std::io::Error::other("the node is ending")),
        acknowledged = exchange => acknowledged,
    };
    let joined = acknowledged
        .map_err(|error| error.to_string())
        .and_then(|ack| awaiting.handle_ack(&ack).map_err(|error| error.to_string()))
        .and_then(|()| invite.complete());
    if let Err(error) = joined {
        take_back(app, &joiner.peer, written).await;
        return Err(error);
    }
    // The joiner waits for the end of the stream, so that the relays know it before its first dial. They are
    // told only now: they do not forget it again.
    let notes = enroll(app, invite, &joiner, &written.name).await;
    finish(stream).await;
    tracing::info!(peer = %joiner.peer, name = %written.name, "paired");
    // Last of all: whoever waits for it may end the node at once.
    invite.state.send_replace(State::Joined(InviteOutcome {
        peer_id: joiner.peer.to_base58(),
        name: written.name.to_string(),
        notes,
    }));
    Ok(())
}

async fn refuse(stream: &mut PeerStream, refusal: Refusal) {
    if wire::send(stream, &refusal.encode()).await.is_ok() {
        finish(stream).await;
    }
}

/// Half-closes and waits for the other side to have read everything: its end, or the connection's.
async fn finish(stream: &mut PeerStream) {
    let _ = tokio::io::AsyncWriteExt::shutdown(stream).await;
    let mut rest = [0_u8; 16];
    let _ = tokio::time::timeout(
        Duration::from_secs(5),
        tokio::io::AsyncReadExt::read(stream, &mut rest),
    )
    .await;
}

/// What was written of a joiner, to take it back if need be.
struct Written {
    name: PeerName,
    /// What stood in `authorized_keys` before, where that was changed.
    replaced: Option<Option<Entry>>,
    name_added: bool,
}

/// Writes the joiner into `authorized_keys` and `names:`.
async fn write_joiner(app: &Arc<App>, invite: &OpenInvite, joiner: &Paired) -> Result<Written, Failure> {
    let wanted = super::name_for(joiner);
    let before = app.access.entry(&joiner.peer);
    // An entry that holds stays as it is; one that is over would keep the joiner out.
    let holds = before
        .as_ref()
        .is_some_and(|entry| !entry.is_expired(Timestamp::now()));
    if !holds {
        let mut entry = Entry::new(joiner.peer);
        entry.services = invite.services.clone();
        entry.comment = Some(format!(
            "{wanted}, paired {}",
            Timestamp::now().strftime("%Y-%m-%d")
        ));
        app.edit_access(move |access| access.set(entry)).await?;
    }
    let name_added = app.name_of(&joiner.peer).is_none();
    let name = app.write_name(wanted.clone(), joiner.peer).await;
    let written = Written {
        name: name.as_ref().unwrap_or(&wanted).clone(),
        replaced: (!holds).then_some(before),
        name_added: name_added && name.is_ok(),
    };
    if let Err(failure) = name {
        take_back(app, &joiner.peer, written).await;
        return Err(failure);
    }
    Ok(written)
}

/// Takes a joiner out again whose last word did not come.
async fn take_back(app: &Arc<App>, peer: &PeerId, written: Written) {
    let peer = *peer;
    if let Some(before) = written.replaced
        && let Err(failure) = app
            .edit_access(move |access| match before {
                Some(entry) => access.set(entry),
                None => access.remove(&peer).map(drop),
            })
            .await
    {
        tracing::error!(%peer, %failure, "a peer that did not finish pairing stays in authorized_keys");
    }
    if written.name_added
        && let Err(failure) = app
            .edit_config(move |editor| editor.remove_name(&written.name))
            .await
    {
        tracing::warn!(%peer, %failure, "the name of a peer that did not finish pairing stays");
    }
    tracing::info!(%peer, "a joiner that did not finish was taken out again");
}

async fn enroll(app: &App, invite: &OpenInvite, joiner: &Paired, name: &PeerName) -> Vec<String> {
    let request = AdmitRequest::Enroll {
        peer: joiner.peer,
        name: Some(name.clone()),
    };
    let asked = invite
        .relays
        .iter()
        .map(|relay| relays::ask(app, *relay, &request));
    futures::future::join_all(asked)
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

fn expire_later(app: &Arc<App>, one_time: PeerId, ttl: Duration) {
    let task_app = app.clone();
    app.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = task_app.shutdown.cancelled() => return,
            () = tokio::time::sleep(ttl) => {}
        }
        let invite = task_app.invites.lock().get(&one_time).cloned();
        if let Some(invite) = invite {
            invite.state.send_if_modified(|state| {
                let open = matches!(state, State::Open);
                if open {
                    *state = State::Expired;
                }
                open
            });
        }
        tokio::select! {
            biased;
            () = task_app.shutdown.cancelled() => return,
            () = tokio::time::sleep(REMEMBERED) => {}
        }
        task_app.invites.lock().remove(&one_time);
        task_app.access.forget_pairing(&one_time);
    });
}

/// Returns where a joiner can meet this node: the relays with a reservation first, then own addresses.
async fn meeting_places(app: &Arc<App>) -> Result<(Vec<InviteRelay>, Vec<PeerId>, Vec<String>), Failure> {
    let configured = crate::app::relays(&app.config());
    let mut notes = Vec::new();
    let mut entries = Vec::new();
    let mut peers = Vec::new();
    if !configured.is_empty() {
        let mut status = app.node.watch();
        let reserved = tokio::time::timeout(
            RESERVATION_WAIT,
            status.wait_for(|status| status.reserved_relays > 0),
        );
        if !matches!(reserved.await, Ok(Ok(_))) {
            notes.push("no relay holds a reservation for this node, see: peerup status".to_owned());
        }
        let snapshot = snapshot(app).await?;
        for relay in snapshot.relays.iter().filter(|relay| relay.reserved) {
            let address = configured
                .iter()
                .find(|known| known.peer == relay.peer)
                .and_then(|known| known.addresses.first());
            if let Some(address) = address.filter(|_| entries.len() < MAX_INVITE_RELAYS) {
                match InviteRelay::from_address(&address.clone().with(Protocol::P2p(relay.peer))) {
                    Ok(entry) => {
                        entries.push(entry);
                        peers.push(relay.peer);
                    }
                    Err(error) => notes.push(format!("the relay {address} cannot stand in a code: {error}")),
                }
            }
        }
    }
    if let Some(address) = own_address(app)
        .await?
        .filter(|_| entries.len() < MAX_INVITE_RELAYS)
    {
        entries.extend(InviteRelay::new(own_key(app)?, address).ok());
    }
    if entries.is_empty() {
        let hint = if notes.is_empty() {
            "add a relay with: peerup relay add".to_owned()
        } else {
            notes.join("\n")
        };
        return Err(Failure::new(
            ErrorCode::Unreachable,
            "nobody could reach this node: no relay and no address",
        )
        .with_hint(hint));
    }
    Ok((entries, peers, notes))
}

/// Returns the address under which another machine is most likely to reach this one directly. Loopback
/// serves two nodes on one machine that has nothing else.
async fn own_address(app: &App) -> Result<Option<Multiaddr>, Failure> {
    let snapshot = snapshot(app).await?;
    let own = snapshot
        .external
        .iter()
        .chain(&snapshot.listen)
        .filter(|address| !is_relayed(address));
    Ok(own.min_by_key(rank).cloned())
}

async fn snapshot(app: &App) -> Result<peerup_net::NodeSnapshot, Failure> {
    app.node
        .snapshot()
        .await
        .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))
}

fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

fn rank(address: &&Multiaddr) -> (u8, u8) {
    let reach = match address.iter().next() {
        Some(Protocol::Ip4(ip)) if ip.is_loopback() || ip.is_unspecified() => 4,
        Some(Protocol::Ip6(ip)) if ip.is_loopback() || ip.is_unspecified() => 5,
        Some(Protocol::Ip4(_)) => 1,
        Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() => 6,
        Some(Protocol::Ip6(_)) => 2,
        _ => 0,
    };
    let transport = u8::from(address.iter().any(|part| matches!(part, Protocol::Udp(_))));
    (reach, transport)
}

fn own_key(app: &App) -> Result<libp2p_identity::ed25519::PublicKey, Failure> {
    app.identity.public().try_into_ed25519().map_err(|_| {
        Failure::new(
            ErrorCode::ConfigInvalid,
            "the identity is no Ed25519 key, so it cannot stand in a code",
        )
    })
}

fn own_name(app: &App, given: Option<&str>) -> Result<String, Failure> {
    if let Some(given) = given {
        let name: PeerName = given
            .to_ascii_lowercase()
            .parse()
            .map_err(|error: peerup_model::NameError| Failure::new(ErrorCode::Invalid, error.to_string()))?;
        return Ok(name.to_string());
    }
    Ok(crate::own_name(&app.config(), &app.peer_id()).to_string())
}

fn read_ttl(text: Option<&str>) -> Result<Duration, Failure> {
    let Some(text) = text else { return Ok(DEFAULT_TTL) };
    let refused = |why: String| {
        Failure::new(
            ErrorCode::Invalid,
            format!("the time {text:?} is not valid: {why}"),
        )
    };
    let ttl: Duration = text
        .parse::<jiff::SignedDuration>()
        .map_err(|error| refused(error.to_string()))
        .and_then(|ttl| Duration::try_from(ttl).map_err(|error| refused(error.to_string())))?;
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL {
        return Err(refused("it must lie between one second and 24 hours".to_owned()));
    }
    Ok(ttl)
}

fn read_services(services: Option<Vec<String>>) -> Result<Option<Vec<ServiceName>>, Failure> {
    let Some(services) = services else { return Ok(None) };
    let parsed: Result<Vec<ServiceName>, _> = services.iter().map(|name| name.parse()).collect();
    parsed
        .map(Some)
        .map_err(|error: peerup_model::NameError| Failure::new(ErrorCode::Invalid, error.to_string()))
}

fn unknown(id: &str) -> Failure {
    Failure::new(ErrorCode::NotFound, format!("there is no invite {id}")).with_hint(
        "it was used or cancelled, or a start of the daemon ended it; make another one: POST /v1/invite",
    )
}
