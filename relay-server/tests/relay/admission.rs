//! Peers that a member vouches for: one circuit, or a place in the list.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libp2p::PeerId;
use libp2p::identity::Keypair;
use peerup_net::PeerStream;
use peerup_trust::{AdmitRefusal, AdmitRequest, AdmitResponse, encode_frame, frame_length};
use relay_server::{MAX_ADMISSIONS_PER_MEMBER, MAX_ENROLMENTS_PER_WINDOW};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Client;
use crate::setting::Setting;

/// Sends one request over the member's connection and returns the answer.
async fn ask(member: &Client, setting: &Setting, request: AdmitRequest) -> AdmitResponse {
    let stream = member.admit_stream(&setting.relay).await.unwrap();
    let exchange = exchange(stream, request);
    tokio::time::timeout(crate::client::DEADLINE, exchange)
        .await
        .unwrap()
}

async fn exchange(mut stream: PeerStream, request: AdmitRequest) -> AdmitResponse {
    stream
        .write_all(&encode_frame(&request.encode()).unwrap())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.unwrap();
    let mut payload = vec![0; frame_length(header).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    AdmitResponse::decode(&payload).unwrap()
}

fn refusal(answer: AdmitResponse) -> AdmitRefusal {
    match answer {
        AdmitResponse::Refused(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn circuit(peer: PeerId, minutes: u32) -> AdmitRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
    AdmitRequest::Circuit {
        peer,
        until: u32::try_from(now).unwrap() + minutes,
    }
}

fn enroll(peer: PeerId) -> AdmitRequest {
    AdmitRequest::Enroll {
        peer,
        name: Some("laptop".parse().unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_peer_reaches_its_member_and_nobody_else() {
    let guest_key = Keypair::generate_ed25519();
    let (mut member, mut other) = (Client::random().await, Client::random().await);
    let mut guest = Client::start(guest_key, &[]).await;
    let setting = Setting::with_members(&[member.peer, other.peer], "").await;
    member.connect(&setting.relay).await;
    other.connect(&setting.relay).await;
    assert!(member.reserve(&setting.relay).await);
    assert!(other.reserve(&setting.relay).await);

    let answer = ask(&member, &setting, circuit(guest.peer, 10)).await;
    assert!(matches!(answer, AdmitResponse::Admitted));

    guest.connect(&setting.relay).await;
    assert!(guest.dial_through(&setting.relay, member.peer).await);
    assert!(!guest.dial_through(&setting.relay, other.peer).await);
    guest.closed(&setting.relay).await;
    assert!(!other.has_met(guest.peer), "the other member hears nothing of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_peer_gets_no_reservation_and_no_admit_protocol() {
    let mut member = Client::random().await;
    let mut guest = Client::random().await;
    let setting = Setting::with_members(&[member.peer], "").await;
    member.connect(&setting.relay).await;
    ask(&member, &setting, circuit(guest.peer, 10)).await;
    guest.connect(&setting.relay).await;

    assert!(!guest.reserve(&setting.relay).await);
    assert!(guest.admit_stream(&setting.relay).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_removed_takes_its_guests_along() {
    let mut member = Client::random().await;
    let mut guest = Client::random().await;
    let setting = Setting::with_members(&[member.peer], "").await;
    member.connect(&setting.relay).await;
    ask(&member, &setting, circuit(guest.peer, 10)).await;
    guest.connect(&setting.relay).await;

    std::fs::write(&setting.keys, "").unwrap();

    guest.closed(&setting.relay).await;
    member.closed(&setting.relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admissions_are_bounded_in_number_and_time() {
    let mut member = Client::random().await;
    let setting = Setting::with_members(&[member.peer], "").await;
    member.connect(&setting.relay).await;

    let too_long = ask(&member, &setting, circuit(PeerId::random(), 3 * 24 * 60)).await;
    let past = ask(&member, &setting, circuit(PeerId::random(), 0)).await;
    for _ in 0..MAX_ADMISSIONS_PER_MEMBER {
        let answer = ask(&member, &setting, circuit(PeerId::random(), 10)).await;
        assert!(matches!(answer, AdmitResponse::Admitted));
    }
    let one_more = ask(&member, &setting, circuit(PeerId::random(), 10)).await;

    assert_eq!(refusal(too_long), AdmitRefusal::Invalid);
    assert_eq!(refusal(past), AdmitRefusal::Invalid);
    assert_eq!(refusal(one_more), AdmitRefusal::Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_enrols_a_peer_which_may_then_reserve() {
    let mut member = Client::random().await;
    let mut joiner = Client::random().await;
    let setting = Setting::with_members(&[member.peer], "enrollment: members\n").await;
    member.connect(&setting.relay).await;

    let answer = ask(&member, &setting, enroll(joiner.peer)).await;
    assert!(matches!(answer, AdmitResponse::Admitted));

    joiner.connect(&setting.relay).await;
    assert!(joiner.reserve(&setting.relay).await);
    let line = setting
        .list()
        .lines()
        .find(|line| line.starts_with(&joiner.peer.to_string()))
        .unwrap()
        .to_owned();
    assert!(
        line.contains(&format!("# enrolled by {} ", member.peer)),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_the_relay_enrols_for_no_longer_than_it_is_one_itself() {
    let mut guest = Client::random().await;
    let joiner = PeerId::random();
    let lines = format!("{} expires=2999-01-01T00:00:00Z\n", guest.peer);
    let setting = Setting::start(&lines, "enrollment: members\n").await;
    guest.connect(&setting.relay).await;

    let answer = ask(&guest, &setting, enroll(joiner)).await;

    assert!(matches!(answer, AdmitResponse::Admitted));
    let list = setting.list();
    let line = list
        .lines()
        .find(|line| line.starts_with(&joiner.to_string()))
        .unwrap();
    assert!(line.contains("expires=2999-01-01T00:00:00Z"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_enrol_where_the_config_says_so() {
    let (mut member, mut admin) = (Client::random().await, Client::random().await);
    let lines = format!("{}\n{} role=admin\n", member.peer, admin.peer);
    let setting = Setting::start(&lines, "enrollment: admins\n").await;
    member.connect(&setting.relay).await;
    admin.connect(&setting.relay).await;
    let joiner = PeerId::random();

    let refused = ask(&member, &setting, enroll(joiner)).await;
    assert!(!setting.list().contains(&joiner.to_string()));
    let granted = ask(&admin, &setting, enroll(joiner)).await;

    assert_eq!(refusal(refused), AdmitRefusal::EnrollmentAdmins);
    assert!(matches!(granted, AdmitResponse::Admitted));
    assert!(setting.list().contains(&joiner.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_enrols_where_the_config_is_closed() {
    let mut admin = Client::random().await;
    let setting = Setting::start(&format!("{} role=admin\n", admin.peer), "enrollment: closed\n").await;
    admin.connect(&setting.relay).await;
    let before = setting.list();

    let answer = ask(&admin, &setting, enroll(PeerId::random())).await;

    assert_eq!(refusal(answer), AdmitRefusal::EnrollmentClosed);
    assert_eq!(setting.list(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_enrols_so_many_an_hour() {
    let mut member = Client::random().await;
    let setting = Setting::with_members(&[member.peer], "").await;
    member.connect(&setting.relay).await;
    for _ in 0..MAX_ENROLMENTS_PER_WINDOW {
        let answer = ask(&member, &setting, enroll(PeerId::random())).await;
        assert!(matches!(answer, AdmitResponse::Admitted));
    }

    let answer = ask(&member, &setting, enroll(PeerId::random())).await;

    assert_eq!(refusal(answer), AdmitRefusal::Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_admit_protocol_ends_that_stream_only() {
    let mut member = Client::random().await;
    let setting = Setting::with_members(&[member.peer], "").await;
    member.connect(&setting.relay).await;
    let mut stream = member.admit_stream(&setting.relay).await.unwrap();

    stream.write_all(&[0xff; 64]).await.unwrap();
    let _ = stream.flush().await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;

    assert!(ended.is_ok());
    assert!(rest.is_empty());
    assert!(matches!(
        ask(&member, &setting, circuit(PeerId::random(), 2)).await,
        AdmitResponse::Admitted
    ));
}
