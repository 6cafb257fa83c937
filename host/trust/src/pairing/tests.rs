//! The handshake: the good run, every forgery, every message out of turn.

use proptest::prelude::*;

use super::*;
use crate::InviteRelay;

struct Setting {
    invite: Invite,
    inviter: Keypair,
    joiner: Keypair,
}

fn setting() -> Setting {
    let inviter = Keypair::ed25519_from_bytes([2; 32]).unwrap();
    let joiner = Keypair::ed25519_from_bytes([5; 32]).unwrap();
    let relay = public(&Keypair::ed25519_from_bytes([1; 32]).unwrap());
    let relay = InviteRelay::new(relay, "/ip4/203.0.113.50/tcp/7777".parse().unwrap()).unwrap();
    let token = Token::from_bytes([7; 16]);
    let invite = Invite::new(token, public(&inviter), 30_000_000, vec![relay]).unwrap();
    Setting {
        invite,
        inviter,
        joiner,
    }
}

fn public(keypair: &Keypair) -> ed25519::PublicKey {
    keypair.public().try_into_ed25519().unwrap()
}

impl Setting {
    fn one_time(&self) -> PeerId {
        self.invite.one_time_keypair().public().to_peer_id()
    }

    fn joiner(&self) -> (Joiner, Vec<u8>) {
        Joiner::start(&self.invite, &self.joiner, "My Laptop", [11; 32]).unwrap()
    }

    fn inviter(&self) -> Inviter {
        let token = self.invite.token().clone();
        Inviter::new(token, public(&self.inviter), self.one_time(), "home", [22; 32])
    }
}

#[test]
fn both_sides_know_each_other_by_key_and_name() {
    let setting = setting();
    let (joiner, hello) = setting.joiner();
    let (waiting, joined, answer) = setting.inviter().handle_hello(&hello).unwrap();
    let (invited, ack) = joiner.handle_answer(&answer).unwrap();
    waiting.handle_ack(&ack).unwrap();
    assert_eq!(joined.peer, setting.joiner.public().to_peer_id());
    assert_eq!(joined.name.unwrap().as_str(), "mylaptop");
    assert_eq!(invited.peer, setting.inviter.public().to_peer_id());
    assert_eq!(invited.name.unwrap().as_str(), "home");
    for payload in [hello, answer, ack] {
        assert!(crate::encode_frame(&payload).is_ok());
    }
}

#[test]
fn names_are_cut_and_may_be_missing() {
    let setting = setting();
    let (_, hello) = Joiner::start(&setting.invite, &setting.joiner, "日本", [1; 32]).unwrap();
    assert_eq!(setting.inviter().handle_hello(&hello).unwrap().1.name, None);
    let long = "x".repeat(5000);
    let (_, hello) = Joiner::start(&setting.invite, &setting.joiner, &long, [1; 32]).unwrap();
    assert!(hello.len() <= crate::MAX_FRAME);
    assert_eq!(
        setting
            .inviter()
            .handle_hello(&hello)
            .unwrap()
            .1
            .name
            .unwrap()
            .as_str()
            .len(),
        63
    );
}

#[test]
fn another_token_is_refused_on_both_sides() {
    let setting = setting();
    let other = Token::from_bytes([8; 16]);
    let (joiner, hello) = setting.joiner();
    let stranger = Inviter::new(
        other,
        public(&setting.inviter),
        setting.one_time(),
        "home",
        [22; 32],
    );
    let error = stranger.handle_hello(&hello).unwrap_err();
    assert_eq!(error, PairingError::Proof);
    assert_eq!(error.refusal(), Some(Refusal::WrongProof));
    // An answer that is made without the token.
    let forged = Message::Answer(Answer {
        nonce: [0; 32],
        name: b"home".to_vec(),
        mac: [0; 32],
    });
    assert_eq!(joiner.handle_answer(&forged.encode()), Err(PairingError::Proof));
}

#[test]
fn an_answer_from_another_identity_is_refused() {
    let setting = setting();
    let (_, hello) = setting.joiner();
    let other = public(&Keypair::generate_ed25519());
    let token = setting.invite.token().clone();
    let impostor = Inviter::new(token, other, setting.one_time(), "home", [22; 32]);
    assert_eq!(impostor.handle_hello(&hello).unwrap_err(), PairingError::Proof);
}

#[test]
fn another_connection_identity_is_refused() {
    let setting = setting();
    let (_, hello) = setting.joiner();
    let token = setting.invite.token().clone();
    let inviter = Inviter::new(
        token,
        public(&setting.inviter),
        PeerId::random(),
        "home",
        [22; 32],
    );
    assert_eq!(inviter.handle_hello(&hello).unwrap_err(), PairingError::Proof);
}

#[test]
fn knowing_the_token_does_not_give_somebody_elses_identity() {
    let setting = setting();
    let (_, hello) = setting.joiner();
    let Some(Message::Hello(mut hello)) = Message::decode(&hello) else {
        panic!("a hello is made")
    };
    for victim in [public(&Keypair::generate_ed25519()).to_bytes(), {
        let mut weak = [0; 32];
        weak[0] = 1;
        weak
    }] {
        hello.identity = victim;
        let mut transcript = Transcript::default();
        transcript.begin(setting.invite.inviter(), &hello.identity, setting.one_time());
        transcript.add(&hello.nonce);
        transcript.add(&hello.name);
        transcript.add(&hello.signature);
        hello.mac = transcript.mac(setting.invite.token(), HELLO_CONTEXT);
        let error = setting
            .inviter()
            .handle_hello(&Message::Hello(hello.clone()).encode())
            .unwrap_err();
        assert_eq!(error, PairingError::Signature);
        assert_eq!(error.refusal(), Some(Refusal::WrongProof));
    }
}

#[test]
fn nobody_pairs_with_himself() {
    let setting = setting();
    let own = Joiner::start(&setting.invite, &setting.inviter, "me", [1; 32]);
    assert_eq!(own.unwrap_err(), PairingError::OwnIdentity);
}

#[test]
fn a_message_of_another_run_or_direction_is_refused() {
    let setting = setting();
    let (joiner, hello) = setting.joiner();
    let (waiting, _, answer) = setting.inviter().handle_hello(&hello).unwrap();
    let (_, other_hello) = Joiner::start(&setting.invite, &setting.joiner, "My Laptop", [12; 32]).unwrap();
    let (other_waiting, _, other_answer) = setting.inviter().handle_hello(&other_hello).unwrap();
    let Some(Message::Answer(reflected)) = Message::decode(&answer) else {
        panic!("an answer is made")
    };
    let ack_from_answer = Message::Ack { mac: reflected.mac };
    assert_eq!(
        other_waiting.handle_ack(&ack_from_answer.encode()),
        Err(PairingError::Proof)
    );
    assert_eq!(joiner.handle_answer(&other_answer), Err(PairingError::Proof));
    assert!(matches!(
        waiting.handle_ack(&hello),
        Err(PairingError::OutOfTurn { .. })
    ));
    let (joiner, hello) = setting.joiner();
    let expected = PairingError::OutOfTurn {
        expected: "answer",
        found: "hello",
    };
    assert_eq!(joiner.handle_answer(&hello), Err(expected.clone()));
    assert_eq!(expected.refusal(), Some(Refusal::Internal));
    assert!(matches!(
        setting.inviter().handle_hello(&answer),
        Err(PairingError::OutOfTurn { .. })
    ));
}

#[test]
fn each_refusal_reaches_the_joiner_as_itself() {
    let setting = setting();
    let all = [
        Refusal::Used,
        Refusal::Expired,
        Refusal::WrongProof,
        Refusal::Internal,
    ];
    let mut said: Vec<String> = all.iter().map(ToString::to_string).collect();
    for refusal in all {
        assert_eq!(Refusal::decode(&refusal.encode()), Some(refusal));
        let error = setting.joiner().0.handle_answer(&refusal.encode()).unwrap_err();
        assert_eq!(error, PairingError::Refused(refusal));
        assert_eq!(error.refusal(), None);
    }
    said.dedup();
    assert_eq!(said.len(), 4);
    for bad in [&[][..], &[4], &[4, 0], &[4, 5], &[4, 1, 0], &[3, 1]] {
        assert_eq!(Refusal::decode(bad), None);
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_malformed() {
    let setting = setting();
    let (_, hello) = setting.joiner();
    for length in 0..hello.len() {
        assert_eq!(
            setting.inviter().handle_hello(&hello[..length]).unwrap_err(),
            PairingError::Malformed
        );
    }
    let extra = [&hello[..], &[0]].concat();
    assert_eq!(
        setting.inviter().handle_hello(&extra).unwrap_err(),
        PairingError::Malformed
    );
}

#[test]
fn the_bytes_of_the_handshake_stay() {
    use sha2::Digest as _;
    let setting = setting();
    let (joiner, hello) = setting.joiner();
    let (_, _, answer) = setting.inviter().handle_hello(&hello).unwrap();
    let (_, ack) = joiner.handle_answer(&answer).unwrap();
    let digest = Sha256::digest([hello, answer, ack].concat());
    let text = include_str!("../../tests/vectors/pairing-2.txt");
    let wanted = text
        .lines()
        .find_map(|line| line.strip_prefix("sha256 = "))
        .unwrap();
    assert_eq!(data_encoding::HEXLOWER.encode(&digest), wanted);
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(
        identity in any::<[u8; 32]>(), nonce in any::<[u8; 32]>(), mac in any::<[u8; 32]>(),
        name in prop::collection::vec(any::<u8>(), 0..=63), fill in any::<u8>(),
    ) {
        let hello = Hello { identity, nonce, name: name.clone(), signature: [fill; 64], mac };
        for message in [Message::Hello(Box::new(hello)), Message::Answer(Answer { nonce, name, mac }), Message::Ack { mac }] {
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0..6_u8) {
        let setting = setting();
        let payload = [&[kind][..], &bytes].concat();
        prop_assert!(setting.inviter().handle_hello(&payload).is_err());
        prop_assert!(setting.joiner().0.handle_answer(&payload).is_err());
        crate::fuzzing::pairing_frames(&bytes);
    }

    #[test]
    fn one_other_bit_anywhere_ends_the_pairing(which in 0..3_u8, bit in any::<prop::sample::Index>()) {
        let setting = setting();
        let flip = |payload: &mut Vec<u8>| {
            let bit = bit.index(payload.len() * 8);
            payload[bit / 8] ^= 1 << (bit % 8);
        };
        let (joiner, mut hello) = setting.joiner();
        if which == 0 {
            flip(&mut hello);
            prop_assert!(setting.inviter().handle_hello(&hello).is_err());
            return Ok(());
        }
        let (waiting, _, mut answer) = setting.inviter().handle_hello(&hello).unwrap();
        if which == 1 {
            flip(&mut answer);
            prop_assert!(joiner.handle_answer(&answer).is_err());
            return Ok(());
        }
        let (_, mut ack) = joiner.handle_answer(&answer).unwrap();
        flip(&mut ack);
        prop_assert!(waiting.handle_ack(&ack).is_err());
    }
}
