//! Pulling and publishing against a registry on loopback, and against ones that lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod server;

use std::{collections::BTreeMap, time::Duration};

use peerup_registry::{
    Credentials, Limits, OciReference, Published, RegistryError, docker_credentials, publish, pull,
};
use server::{Auth, Lie, Server};

const PACKAGE: &[u8] = b"\0asm\x0d\0\x01\0 and more";
const CREATED: &str = "2026-01-01T00:00:00Z";

fn limits() -> Limits {
    Limits {
        package_bytes: 1 << 20,
        manifest_bytes: 64 << 10,
        ..Limits::default()
    }
}

fn login() -> Credentials {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let auth = data_encoding::BASE64.encode(b"me:secret");
    std::fs::write(
        &path,
        format!("{{\"auths\":{{\"here\":{{\"auth\":\"{auth}\"}}}}}}"),
    )
    .unwrap();
    docker_credentials(&path, "here").unwrap().unwrap()
}

async fn put(server: &Server, package: &[u8]) -> Published {
    let notes = BTreeMap::from([("org.opencontainers.image.title".to_owned(), "chess".to_owned())]);
    let login = (server.auth() != Auth::None).then(login);
    let place = server.reference("chess:1.0.0");
    publish(&place, package.to_vec(), notes, CREATED, login.as_ref())
        .await
        .unwrap()
}

async fn get(server: &Server, name: &str) -> Result<Vec<u8>, RegistryError> {
    pull(&server.reference(name), None, &limits())
        .await
        .map(|pulled| pulled.bytes)
}

#[tokio::test]
async fn what_is_published_is_pulled_by_tag_and_by_digest() {
    let server = Server::start(Auth::None).await;
    let published = put(&server, PACKAGE).await;
    let pulled = pull(&server.reference("chess:1.0.0"), None, &limits())
        .await
        .unwrap();
    assert_eq!(pulled.bytes, PACKAGE);
    assert_eq!(pulled.reference, published.reference);
    let again = pull(&pulled.reference, None, &limits()).await.unwrap();
    assert_eq!(again.bytes, PACKAGE);
    let manifest = server.manifest("1.0.0");
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.title"], "chess");
}

#[tokio::test]
async fn a_tag_that_moved_is_not_taken_for_the_digest_that_was_pinned() {
    let server = Server::start(Auth::None).await;
    let pinned = put(&server, PACKAGE).await.reference;
    put(&server, b"another").await;
    assert_eq!(pull(&pinned, None, &limits()).await.unwrap().bytes, PACKAGE);
    let digest = pinned.digest().unwrap().to_owned();
    server.lie(Lie::ManifestOf(digest, "1.0.0".to_owned()));
    let refused = pull(&pinned, None, &limits()).await.unwrap_err();
    assert!(matches!(refused, RegistryError::WrongDigest { .. }), "{refused}");
}

#[tokio::test]
async fn other_bytes_than_the_manifest_names_are_refused() {
    let server = Server::start(Auth::None).await;
    put(&server, PACKAGE).await;
    server.lie(Lie::OtherBytes);
    let refused = get(&server, "chess:1.0.0").await.unwrap_err();
    assert!(matches!(refused, RegistryError::WrongDigest { .. }), "{refused}");
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let server = Server::start(Auth::None).await;
    put(&server, PACKAGE).await;
    for lie in [Lie::EndlessBlob, Lie::EndlessManifest] {
        server.lie(lie);
        let refused = get(&server, "chess:1.0.0").await.unwrap_err();
        assert!(matches!(refused, RegistryError::TooLarge { .. }), "{refused}");
    }
    let auth = Server::start(Auth::Bearer).await;
    auth.lie(Lie::EndlessToken);
    let refused = get(&auth, "chess:1.0.0").await.unwrap_err();
    assert!(matches!(refused, RegistryError::TooLarge { .. }), "{refused}");
}

#[tokio::test]
async fn a_body_that_stops_midway_does_not_hold_us_for_ever() {
    let server = Server::start(Auth::None).await;
    put(&server, PACKAGE).await;
    server.lie(Lie::SilentBlob);
    let short = Limits {
        silence: Duration::from_millis(50),
        ..limits()
    };
    let refused = pull(&server.reference("chess:1.0.0"), None, &short)
        .await
        .unwrap_err();
    assert!(matches!(refused, RegistryError::Unreachable { .. }), "{refused}");
}

#[tokio::test]
async fn a_package_larger_than_allowed_is_refused_before_it_is_fetched() {
    let server = Server::start(Auth::None).await;
    put(&server, &vec![0; (1 << 20) + 1]).await;
    let refused = get(&server, "chess:1.0.0").await.unwrap_err();
    assert!(matches!(refused, RegistryError::TooLarge { .. }), "{refused}");
    assert_eq!(server.asked("/blobs/sha256"), 0);
}

#[tokio::test]
async fn bytes_may_lie_at_another_place_on_this_machine_and_our_name_stays_here() {
    let (server, other) = (Server::start(Auth::Basic).await, Server::start(Auth::None).await);
    put(&server, PACKAGE).await;
    put(&other, PACKAGE).await;
    server.lie(Lie::BlobsAt(format!("http://{}", other.address())));
    let pulled = pull(&server.reference("chess:1.0.0"), Some(&login()), &limits())
        .await
        .unwrap();
    assert_eq!(pulled.bytes, PACKAGE);
    assert!(server.saw_authorization() && !other.saw_authorization_on_get());
}

#[tokio::test]
async fn we_are_not_sent_to_another_host_nor_in_circles_nor_for_a_manifest() {
    let server = Server::start(Auth::None).await;
    put(&server, PACKAGE).await;
    for lie in [
        Lie::BlobsAt("http://registry.example".to_owned()),
        Lie::BlobsAt("https://registry.example".to_owned()),
        Lie::BlobsAt("file:///etc".to_owned()),
        Lie::BlobsAt(format!("http://{}", server.address())),
        Lie::ManifestsAt(format!("http://{}", server.address())),
    ] {
        server.lie(lie.clone());
        let refused = get(&server, "chess:1.0.0").await.unwrap_err();
        assert!(
            matches!(refused, RegistryError::Redirect { .. }),
            "{lie:?}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_login_is_asked_for_by_name_and_password_and_by_token() {
    for auth in [Auth::Basic, Auth::Bearer] {
        let server = Server::start(auth).await;
        put(&server, PACKAGE).await;
        let refused = get(&server, "chess:1.0.0").await.unwrap_err();
        assert!(
            refused.to_string().contains("docker login 127.0.0.1"),
            "{refused}"
        );
        let pulled = pull(&server.reference("chess:1.0.0"), Some(&login()), &limits()).await;
        assert_eq!(pulled.unwrap().bytes, PACKAGE, "{auth:?}");
        let notes = BTreeMap::new();
        let refused = publish(
            &server.reference("chess:2.0.0"),
            PACKAGE.to_vec(),
            notes,
            CREATED,
            None,
        )
        .await;
        assert!(refused.is_err(), "{auth:?}");
    }
}

#[tokio::test]
async fn a_token_is_not_asked_for_where_there_is_no_tls() {
    let server = Server::start(Auth::Bearer).await;
    put(&server, PACKAGE).await;
    server.lie(Lie::TokensAt("http://tokens.example/token".to_owned()));
    let refused = pull(&server.reference("chess:1.0.0"), Some(&login()), &limits())
        .await
        .unwrap_err();
    assert!(matches!(refused, RegistryError::Redirect { .. }), "{refused}");
}

#[tokio::test]
async fn what_is_not_there_or_no_component_is_told() {
    let server = Server::start(Auth::None).await;
    let refused = get(&server, "chess:1.0.0").await.unwrap_err();
    assert!(matches!(refused, RegistryError::NotFound { .. }), "{refused}");
    put(&server, PACKAGE).await;
    for manifest in [
        "nonsense",
        "{}",
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"a\",\"digest\":\"b\",\"size\":1},\"layers\":[]}",
    ] {
        server.lie(Lie::Manifest(manifest.to_owned()));
        let refused = get(&server, "chess:1.0.0").await.unwrap_err();
        assert!(matches!(refused, RegistryError::NotComponent { .. }), "{refused}");
    }
    let nobody: OciReference = "oci://127.0.0.1:1/chess:1".parse().unwrap();
    let refused = pull(&nobody, None, &limits()).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Unreachable { .. }), "{refused}");
}
