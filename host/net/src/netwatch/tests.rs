//! The watch without a network: what is merged, and what a lost netlink costs.

use super::*;

fn changed(network_id: &str) -> NetEvent {
    NetEvent::Changed {
        network_id: network_id.to_owned(),
        state: NetState::default(),
    }
}

fn identified(network_id: &str) -> NetEvent {
    NetEvent::Identified {
        network_id: network_id.to_owned(),
        state: NetState::default(),
    }
}

#[test]
fn a_lagging_reader_gets_one_event_with_the_latest_state() {
    let mut outbox = Outbox::default();
    for event in [
        changed("a"),
        NetEvent::Clock,
        changed("b"),
        identified("c"),
        NetEvent::Clock,
    ] {
        outbox.push(event);
    }
    assert_eq!(outbox.pop(), Some(changed("c")));
    assert_eq!(outbox.pop(), Some(NetEvent::Clock));
    assert_eq!(outbox.pop(), None);
    assert!(outbox.is_empty());
}

#[test]
fn the_first_event_stays_the_first() {
    let mut outbox = Outbox::default();
    outbox.push(NetEvent::Initial {
        network_id: "a".to_owned(),
        state: NetState::default(),
    });
    outbox.push(changed("b"));
    assert!(matches!(outbox.pop(), Some(NetEvent::Initial { network_id, .. }) if network_id == "b"));
}

#[test]
fn looks_for_the_router_a_few_times_only() {
    let mut identify = Identify::default();
    let mut now = Instant::now();
    let mut looks = 0;
    identify.schedule(true, now);
    while let Some(at) = identify.at {
        identify.schedule(true, now);
        assert_eq!(identify.at, Some(at), "a look in between moves nothing");
        now = at;
        looks += 1;
        identify.schedule(true, now);
    }
    assert_eq!(looks, IDENTIFY_AFTER.len());
    let mut found = Identify::default();
    found.schedule(true, now);
    found.schedule(false, now);
    assert_eq!(found.at, None);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn reports_the_state_at_once_without_netlink_too() {
    let (watch, mut events) = NetWatch::with_source(Source::polling());
    let event = events.recv().await;
    assert!(matches!(event, Some(NetEvent::Initial { .. })), "{event:?}");
    drop(watch);
    assert_eq!(events.recv().await, None);
}
