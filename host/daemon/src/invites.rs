//! The invites that this node handed out, each with how far it is. Pure: what happens to one is decided by
//! its state and the time that is passed in.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use libp2p_identity::PeerId;
use peerup_api::InviteOutcome;
use peerup_model::ServiceName;
use peerup_trust::{Refusal, Token};
use tokio::sync::watch;

/// The invites of a node, by the one-time identity that each stands for.
#[derive(Debug, Default)]
pub(crate) struct Invites {
    open: Mutex<HashMap<PeerId, OpenInvite>>,
}

/// One invite.
#[derive(Debug, Clone)]
pub(crate) struct OpenInvite {
    pub(crate) id: String,
    pub(crate) token: Token,
    pub(crate) own_name: String,
    pub(crate) services: Option<Vec<ServiceName>>,
    pub(crate) relays: Vec<PeerId>,
    /// Looked at beside the timer, which stands still while the machine sleeps.
    pub(crate) expires: Timestamp,
    pub(crate) state: watch::Sender<State>,
}

/// How far an invite is.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Open,
    /// A joiner is proving itself; nobody else may meanwhile.
    Claimed,
    /// The joiner has acknowledged, and the relays are being told.
    Used,
    Joined(InviteOutcome),
    Cancelled,
    Expired,
}

impl Invites {
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PeerId, OpenInvite>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<(PeerId, OpenInvite)> {
        self.lock()
            .iter()
            .find(|(_, invite)| invite.id == id)
            .map(|(peer, invite)| (*peer, invite.clone()))
    }
}

impl OpenInvite {
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), State::Open | State::Claimed)
    }

    /// Takes the invite for one joiner, or says why it cannot be had. The wall clock decides, too: a timer
    /// does not run while the machine sleeps.
    pub(crate) fn claim(&self, now: Timestamp) -> Result<(), Refusal> {
        let mut refusal = None;
        self.state.send_if_modified(|state| {
            match state {
                State::Open if now >= self.expires => {
                    *state = State::Expired;
                    refusal = Some(Refusal::Expired);
                    return true;
                }
                State::Open => *state = State::Claimed,
                State::Claimed | State::Used | State::Joined(_) => refusal = Some(Refusal::Used),
                State::Expired | State::Cancelled => refusal = Some(Refusal::Expired),
            }
            false
        });
        refusal.map_or(Ok(()), Err)
    }

    /// Uses the invite up for good.
    pub(crate) fn complete(&self) -> Result<(), String> {
        let mut claimed = false;
        self.state.send_if_modified(|state| {
            claimed = matches!(state, State::Claimed);
            if claimed {
                *state = State::Used;
            }
            false
        });
        if claimed {
            Ok(())
        } else {
            Err("the invite was cancelled meanwhile".to_owned())
        }
    }

    /// Gives the invite back after a joiner that did not make it.
    pub(crate) fn release(&self, now: Timestamp) {
        self.state.send_if_modified(|state| {
            if !matches!(state, State::Claimed) {
                return false;
            }
            let over = now >= self.expires;
            *state = if over { State::Expired } else { State::Open };
            over
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn invite(expires: Timestamp) -> OpenInvite {
        OpenInvite {
            id: "invite-1".to_owned(),
            token: Token::from_bytes([7; 16]),
            own_name: "home".to_owned(),
            services: None,
            relays: Vec::new(),
            expires,
            state: watch::Sender::new(State::Open),
        }
    }

    #[test]
    fn an_invite_is_claimed_by_one_joiner_and_used_once() {
        let now = Timestamp::now();
        let invite = invite(now + Duration::from_secs(600));
        invite.claim(now).unwrap();
        assert_eq!(invite.claim(now), Err(Refusal::Used));
        invite.release(now);
        invite.claim(now).unwrap();
        invite.complete().unwrap();
        invite.release(now);
        assert_eq!(invite.claim(now), Err(Refusal::Used));
    }

    #[test]
    fn an_invite_is_over_by_the_clock_on_the_wall_whatever_the_timer_says() {
        let now = Timestamp::now();
        let late = now + Duration::from_secs(600);
        let slept = invite(late);
        assert_eq!(slept.claim(late), Err(Refusal::Expired));
        let claimed = invite(late);
        claimed.claim(now).unwrap();
        claimed.release(late);
        assert!(matches!(*claimed.state.borrow(), State::Expired));
        assert_eq!(claimed.claim(now), Err(Refusal::Expired));
    }

    #[test]
    fn a_joiner_that_is_being_served_does_not_complete_a_cancelled_invite() {
        let now = Timestamp::now();
        let invite = invite(now + Duration::from_secs(600));
        invite.claim(now).unwrap();
        invite.state.send_replace(State::Cancelled);
        invite.complete().unwrap_err();
        invite.release(now);
        assert_eq!(invite.claim(now), Err(Refusal::Expired));
    }
}
