//! Roles, their order and their ends.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn keys(entries: impl IntoIterator<Item = Entry>) -> AuthorizedKeys {
    let mut keys = AuthorizedKeys::default();
    for entry in entries {
        keys.add(entry).unwrap();
    }
    keys
}

#[test]
fn lets_nobody_in_by_default() {
    let policy = AccessPolicy::default();
    assert!(policy.gating());
    assert_eq!(policy.role(&PeerId::random(), at(0)), None);
    assert_eq!(policy.next_expiry(at(0)), None);
}

#[test]
fn member_comes_before_infra_before_pairing_and_both_are_known() {
    let [a, b, c] = [PeerId::random(), PeerId::random(), PeerId::random()];
    let policy = AccessPolicy::new(&keys([Entry::new(a)]))
        .with_infra([a, b])
        .with_pairing([(a, at(10)), (b, at(10)), (c, at(10))]);
    assert!(matches!(policy.role(&a, at(0)), Some(Role::Member(_))));
    assert!(policy.is_infra(&a));
    assert_eq!(policy.role(&b, at(0)), Some(Role::Infra));
    assert_eq!(policy.role(&c, at(0)), Some(Role::Pairing));
    assert!(policy.member(&b, at(0)).is_none());
}

#[test]
fn a_role_ends_at_the_very_moment_that_next_expiry_names() {
    let [a, b] = [PeerId::random(), PeerId::random()];
    let entry = Entry {
        expires: Some(at(100)),
        ..Entry::new(a)
    };
    let policy = AccessPolicy::new(&keys([entry])).with_pairing([(b, at(50))]);
    assert_eq!(policy.next_expiry(at(0)), Some(at(50)));
    assert!(policy.role(&b, at(49)).is_some());
    assert!(policy.role(&b, at(50)).is_none());
    assert_eq!(policy.next_expiry(at(50)), Some(at(100)));
    assert!(policy.role(&a, at(99)).is_some());
    assert!(policy.role(&a, at(100)).is_none());
    assert_eq!(policy.next_expiry(at(100)), None);
}

#[test]
fn an_expired_member_that_is_a_relay_stays_a_relay() {
    let a = PeerId::random();
    let entry = Entry {
        expires: Some(at(1)),
        ..Entry::new(a)
    };
    let policy = AccessPolicy::new(&keys([entry])).with_infra([a]);
    assert_eq!(policy.role(&a, at(2)), Some(Role::Infra));
}

#[test]
fn a_service_list_allows_what_it_names() {
    let a = PeerId::random();
    let web: ServiceName = "web".parse().unwrap();
    let ssh: ServiceName = "ssh".parse().unwrap();
    let entry = Entry {
        services: Some(vec![web.clone()]),
        role: MemberRole::Admin,
        ..Entry::new(a)
    };
    let access = AccessPolicy::new(&keys([entry])).member(&a, at(0)).unwrap();
    assert!(access.admin && access.may_use(&web) && !access.may_use(&ssh));
    assert!(Access::default().may_use(&ssh));
}

#[test]
fn with_the_gate_off_strangers_are_members_and_limits_stay() {
    let [listed, ended, stranger, relay] = std::array::from_fn(|_| PeerId::random());
    let limited = Entry {
        services: Some(vec!["web".parse().unwrap()]),
        ..Entry::new(listed)
    };
    let gone = Entry {
        expires: Some(at(1)),
        ..Entry::new(ended)
    };
    let policy = AccessPolicy::new(&keys([limited, gone]))
        .with_infra([relay])
        .with_gating(false);
    assert!(policy.member(&listed, at(5)).unwrap().services.is_some());
    assert_eq!(policy.role(&ended, at(5)), None);
    assert!(policy.member(&stranger, at(5)).unwrap().services.is_none());
    assert!(!policy.member(&stranger, at(5)).unwrap().admin);
    assert_eq!(policy.role(&relay, at(5)), Some(Role::Infra));
}
