//! A small OCI registry on loopback, that can be told to lie.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use peerup_registry::OciReference;
use tokio::net::TcpListener;

/// How the registry wants to know who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    None,
    Basic,
    Bearer,
}

/// What the registry does wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lie {
    Nothing,
    OtherBytes,
    EndlessBlob,
    EndlessManifest,
    EndlessToken,
    SilentBlob,
    BlobsAt(String),
    ManifestsAt(String),
    TokensAt(String),
    /// For the first name the manifest of the second.
    ManifestOf(String, String),
    Manifest(String),
}

#[derive(Debug)]
struct Inner {
    auth: Auth,
    address: SocketAddr,
    lie: Lie,
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<String, Bytes>,
    upload: Vec<u8>,
    /// Method, path, and whether somebody said who they are.
    seen: Vec<(Method, String, bool)>,
}

/// The running registry; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub(crate) struct Server(Arc<Mutex<Inner>>);

impl Server {
    pub(crate) async fn start(auth: Auth) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self(Arc::new(Mutex::new(Inner {
            auth,
            address,
            lie: Lie::Nothing,
            blobs: HashMap::new(),
            manifests: HashMap::new(),
            upload: Vec::new(),
            seen: Vec::new(),
        })));
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.lock().unwrap().address
    }

    pub(crate) fn reference(&self, name: &str) -> OciReference {
        format!("oci://{}/{name}", self.address()).parse().unwrap()
    }

    /// How it wants to know who asks.
    pub(crate) fn auth(&self) -> Auth {
        self.0.lock().unwrap().auth
    }

    pub(crate) fn lie(&self, lie: Lie) {
        self.0.lock().unwrap().lie = lie;
    }

    pub(crate) fn manifest(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.0.lock().unwrap().manifests[name]).unwrap()
    }

    /// How often something was got whose path has this in it.
    pub(crate) fn asked(&self, part: &str) -> usize {
        let inner = self.0.lock().unwrap();
        let got = inner
            .seen
            .iter()
            .filter(|(method, path, _)| method == Method::GET && path.contains(part));
        got.count()
    }

    pub(crate) fn saw_authorization(&self) -> bool {
        self.0.lock().unwrap().seen.iter().any(|(_, _, named)| *named)
    }

    pub(crate) fn saw_authorization_on_get(&self) -> bool {
        let inner = self.0.lock().unwrap();
        inner
            .seen
            .iter()
            .any(|(method, _, named)| method == Method::GET && *named)
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let mut inner = server.0.lock().unwrap();
    let named = parts.headers.contains_key("authorization");
    inner
        .seen
        .push((parts.method.clone(), parts.uri.path().to_owned(), named));
    if parts.uri.path() == "/token" {
        return token(&inner, &parts.headers);
    }
    if !may(&inner, &parts.headers) {
        return challenge(&inner);
    }
    let path = parts.uri.path().to_owned();
    match path.rsplit_once("/manifests/") {
        Some((_, name)) => manifests(&mut inner, &parts.method, name, body),
        None if path.contains("/blobs/uploads") => uploads(&mut inner, &parts.method, &parts.uri, body),
        None => match path.rsplit_once("/blobs/") {
            Some((_, digest)) => blobs(&inner, digest),
            None => StatusCode::OK.into_response(),
        },
    }
}

fn may(inner: &Inner, headers: &HeaderMap) -> bool {
    let said = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    match inner.auth {
        Auth::None => true,
        Auth::Basic => said == Some(basic()),
        Auth::Bearer => said.as_deref() == Some("Bearer good"),
    }
}

fn basic() -> String {
    format!("Basic {}", data_encoding::BASE64.encode(b"me:secret"))
}

fn challenge(inner: &Inner) -> Response {
    let realm = match &inner.lie {
        Lie::TokensAt(realm) => realm.clone(),
        _ => format!("http://{}/token", inner.address),
    };
    let text = match inner.auth {
        Auth::Bearer => format!("Bearer realm=\"{realm}\",service=\"here\""),
        _ => "Basic realm=\"here\"".to_owned(),
    };
    (StatusCode::UNAUTHORIZED, [("www-authenticate", text)]).into_response()
}

fn token(inner: &Inner, headers: &HeaderMap) -> Response {
    if inner.lie == Lie::EndlessToken {
        return endless();
    }
    match headers.get("authorization").map(|value| value.to_str().unwrap()) {
        Some(said) if said == basic() => "{\"token\":\"good\"}".into_response(),
        _ => "{\"token\":\"anonymous\"}".into_response(),
    }
}

fn manifests(inner: &mut Inner, method: &Method, name: &str, body: Bytes) -> Response {
    if method == Method::PUT {
        let digest = digest_of(&body);
        inner.manifests.insert(name.to_owned(), body.clone());
        inner.manifests.insert(digest.clone(), body);
        let place = format!("/v2/chess/manifests/{digest}");
        return (
            StatusCode::CREATED,
            [("location", place), ("docker-content-digest", digest)],
        )
            .into_response();
    }
    let name = match &inner.lie {
        Lie::EndlessManifest => return endless(),
        Lie::ManifestsAt(place) => return sent_to(&format!("{place}/v2/chess/manifests/{name}")),
        Lie::Manifest(text) => return text.clone().into_response(),
        Lie::ManifestOf(asked, given) if asked == name => given.as_str(),
        _ => name,
    };
    match inner.manifests.get(name) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(bytes) => {
            let headers = [
                (
                    "content-type",
                    "application/vnd.oci.image.manifest.v1+json".to_owned(),
                ),
                ("docker-content-digest", digest_of(bytes)),
            ];
            (headers, bytes.clone()).into_response()
        }
    }
}

fn blobs(inner: &Inner, digest: &str) -> Response {
    match &inner.lie {
        Lie::OtherBytes => {
            let length = inner.blobs.get(digest).map_or(1, Bytes::len);
            vec![b'x'; length].into_response()
        }
        Lie::EndlessBlob => endless(),
        Lie::SilentBlob => {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"\0asm")) });
            Body::from_stream(first.chain(stream::pending())).into_response()
        }
        Lie::BlobsAt(place) => sent_to(&format!("{place}/v2/chess/blobs/{digest}")),
        _ => match inner.blobs.get(digest) {
            None => StatusCode::NOT_FOUND.into_response(),
            Some(bytes) => bytes.clone().into_response(),
        },
    }
}

fn uploads(inner: &mut Inner, method: &Method, uri: &Uri, body: Bytes) -> Response {
    let place = format!("http://{}/v2/chess/blobs/uploads/1", inner.address);
    if method == Method::POST {
        inner.upload.clear();
        return (StatusCode::ACCEPTED, [("location", place)]).into_response();
    }
    inner.upload.extend_from_slice(&body);
    if method == Method::PATCH {
        let range = format!("0-{}", inner.upload.len().saturating_sub(1));
        return (StatusCode::ACCEPTED, [("location", place), ("range", range)]).into_response();
    }
    let bytes = Bytes::from(std::mem::take(&mut inner.upload));
    let digest = digest_of(&bytes);
    let asked = uri.query().unwrap_or_default().replace("%3A", ":");
    if !asked.contains(&digest) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    inner.blobs.insert(digest.clone(), bytes);
    let place = format!("http://{}/v2/chess/blobs/{digest}", inner.address);
    (StatusCode::CREATED, [("location", place)]).into_response()
}

fn sent_to(place: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [("location", place.to_owned())]).into_response()
}

fn endless() -> Response {
    let chunk = Bytes::from(vec![b' '; 16 << 10]);
    Body::from_stream(stream::repeat(Ok::<_, Infallible>(chunk))).into_response()
}

fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    format!("sha256:{}", data_encoding::HEXLOWER.encode(&digest))
}
