//! Clients of every kind: many at once, slow ones, ones that go away, and ones whose cookie is an old one.

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use peerup_api::{DoneInfo, ServiceInfo, StatusInfo};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, task::JoinSet};

use crate::support::{DEADLINE, Node};

const PARALLEL: usize = 1000;

/// Two descriptors for each connection, since both ends are in this process.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_parallel_requests_are_answered() {
    allow_descriptors();
    let node = Node::start().await;
    let mut requests = JoinSet::new();
    for number in 0..PARALLEL {
        let client = node.client();
        requests.spawn(async move {
            match number % 3 {
                0 => client.get::<StatusInfo>("/v1/status").await.map(drop),
                1 => client.get::<Vec<ServiceInfo>>("/v1/services").await.map(drop),
                _ => client
                    .post::<DoneInfo>("/v1/reconnect", &json!({}))
                    .await
                    .map(drop),
            }
        });
    }
    let mut answered = 0;
    while let Some(outcome) = requests.join_next().await {
        outcome.unwrap().unwrap();
        answered += 1;
    }
    assert_eq!(answered, PARALLEL);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hurt_nobody() {
    let node = Node::start().await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        // Half a head; half a body; a stream that nobody reads.
        let mut head = node.connect().await;
        head.write_all(b"GET /v1/status HTTP/1.1\r\nHost: loc")
            .await
            .unwrap();
        let mut body = node.connect().await;
        let text = format!(
            "POST /v1/expose HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 900\r\n\r\n{{",
            node.cookie()
        );
        body.write_all(text.as_bytes()).await.unwrap();
        slow.push((head, body));
    }
    let mut streams = Vec::new();
    for _ in 0..20 {
        let request = node.request("GET", "/v1/events").body(Full::default()).unwrap();
        streams.push(node.begin(request).await);
    }
    for _ in 0..20 {
        let outcome = node.call("GET", "/v1/status", "").await;
        assert_eq!(outcome.status, StatusCode::OK);
    }
    drop((slow, streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_and_one_below_is_read() {
    let node = Node::start().await;
    let body = |size: usize| json!({ "name": "x".repeat(size) }).to_string();
    let frame = body(0).len();
    let far = node
        .call("GET", "/v1/status", "x".repeat(8 * peerup_api::MAX_BODY))
        .await;
    assert_eq!(
        far.status,
        StatusCode::BAD_REQUEST,
        "it gets to read the answer: {far:?}"
    );
    for (size, word) in [
        (peerup_api::MAX_BODY - frame, "\"x"),
        (peerup_api::MAX_BODY - frame + 1, "1 MiB"),
    ] {
        let outcome = node.call("POST", "/v1/resolve", body(size)).await;
        let too_long = outcome.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("1 MiB");
        assert_eq!(too_long, word == "1 MiB", "{size}");
        if too_long {
            assert_eq!(
                (outcome.status, outcome.code().as_str()),
                (StatusCode::BAD_REQUEST, "invalid")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_far_too_long_is_refused_at_once() {
    let node = Node::start().await;
    // All of it base58, which takes long to decode.
    let long = "1".repeat(1 << 19) + &"z".repeat(1 << 18);
    let address = format!("/ip4/127.0.0.1/tcp/9/p2p/{long}");
    for (path, body, code) in [
        ("/v1/resolve", json!({ "name": long }), "not_found"),
        ("/v1/ping", json!({ "peer": long }), "not_found"),
        ("/v1/auth", json!({ "peer_id": long }), "invalid"),
        ("/v1/relays", json!({ "address": address }), "invalid"),
        ("/v1/join", json!({ "code": long }), "invalid"),
    ] {
        let outcome = node.call("POST", path, body.to_string()).await;
        assert_eq!(outcome.code(), code, "{path}");
        assert!(outcome.body.len() < 4096, "{path} says it all again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_or_another_cookie_gets_nothing() {
    let node = Node::start().await;
    let good = format!("Bearer {}", node.cookie());
    let bare = |host: &str, authorization: &str| {
        Request::builder()
            .uri("/v1/status")
            .header("host", host)
            .header("authorization", authorization)
            .body(Full::default())
            .unwrap()
    };
    for host in ["peerup", "localhost"] {
        assert_eq!(
            node.send(bare(host, &good)).await.status,
            StatusCode::OK,
            "{host}"
        );
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "localhost:80",
        "127.0.0.1",
        "",
    ] {
        let outcome = node.send(bare(host, &good)).await;
        assert_eq!(
            (outcome.status, outcome.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid"),
            "{host}"
        );
    }
    let shorter = &good[..good.len() - 1];
    let zeros = format!("Bearer {}", "0".repeat(64));
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Basic eDp4",
        shorter,
        &zeros,
        &good.to_lowercase()[7..],
    ] {
        let outcome = node.send(bare("peerup", wrong)).await;
        assert_eq!(
            (outcome.status, outcome.code().as_str()),
            (StatusCode::UNAUTHORIZED, "unauthorized"),
            "{wrong}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_cookie_is_another_and_clients_go_on() {
    let node = Node::start().await;
    let client = node.client();
    let old = format!("Bearer {}", node.cookie());
    let done: DoneInfo = client.post("/v1/cookie/rotate", &json!({})).await.unwrap();
    assert_eq!(done.status, "rotated");

    let _: StatusInfo = client.get("/v1/status").await.unwrap();
    let request = Request::builder()
        .uri("/v1/status")
        .header("host", "peerup")
        .header("authorization", &old)
        .body(Full::default())
        .unwrap();
    assert_eq!(node.send(request).await.status, StatusCode::UNAUTHORIZED);
    assert_ne!(format!("Bearer {}", node.cookie()), old);

    // Whoever still has the one from before reads the new one, and is never refused where nobody overtakes it.
    let other = node.client();
    for _ in 0..10 {
        let _: DoneInfo = client.post("/v1/cookie/rotate", &json!({})).await.unwrap();
        let _: StatusInfo = other.get("/v1/status").await.unwrap();
    }

    let mut requests = JoinSet::new();
    for number in 0..60 {
        let client = node.client();
        requests.spawn(async move {
            match number % 6 {
                0 => client
                    .post::<DoneInfo>("/v1/cookie/rotate", &json!({}))
                    .await
                    .map(drop),
                _ => client.get::<StatusInfo>("/v1/status").await.map(drop),
            }
        });
    }
    let mut refused = 0;
    while let Some(outcome) = requests.join_next().await {
        // One that is overtaken twice in a row gives up; that is not every one.
        refused += usize::from(outcome.unwrap().is_err());
    }
    assert!(refused < 30, "{refused}");
    let _: StatusInfo = client.get("/v1/status").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_outlives_the_request_that_made_it() {
    let node = Node::start().await;
    let invite = node.call("POST", "/v1/invite", "{}").await.json();
    let id = invite["data"]["id"].as_str().unwrap().to_owned();
    // Its connection is closed; the code is as good as before.
    let outcome = node.call("DELETE", &format!("/v1/invite/{id}"), "").await;
    assert_eq!(outcome.status, StatusCode::OK, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_one_by_one_while_the_stream_is_open() {
    let node = Node::start().await;
    let mut events = node.client().get_lines("/v1/events").await.unwrap();
    let text = node
        .request("GET", "/v1/events?format=text")
        .body(Full::default())
        .unwrap();
    let mut text = node.begin(text).await;
    for number in 0..3 {
        let change = json!({ "name": format!("web-{number}"), "local_address": "127.0.0.1:80" });
        let _: DoneInfo = node.client().post("/v1/expose", &change).await.unwrap();
        let next = tokio::time::timeout(DEADLINE, events.next()).await;
        let event: Value = next.unwrap().unwrap().unwrap();
        assert_eq!(
            (&event["event"], &event["detail"]),
            (&json!("config-changed"), &json!({ "file": "config" }))
        );
    }
    let frame = tokio::time::timeout(DEADLINE, text.body_mut().frame()).await;
    let line = frame.unwrap().unwrap().unwrap().into_data().unwrap();
    assert!(line.ends_with(b"config-changed file=config\n"), "{line:?}");

    node.daemon.shutdown_token().cancel();
    let end = tokio::time::timeout(DEADLINE, events.next()).await.unwrap();
    assert!(
        end.unwrap().is_none(),
        "the end of the daemon is the end of the stream"
    );
}
