//! Requests to a registry: bounded in size and time, careful where they are sent on to, with the token that the
//! registry asks for.

use std::time::Duration;

use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{LOCATION, WWW_AUTHENTICATE},
    redirect::Policy,
};
use serde::Deserialize;

use crate::{
    credentials::Credentials,
    error::RegistryError,
    reference::{OciReference, is_loopback_host},
};

/// The most that is read of a token's answer.
const MAX_TOKEN_BYTES: u64 = 64 << 10;
/// How often a request for bytes may be sent on.
const MAX_REDIRECTS: usize = 3;

/// What a registry may take of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest package in bytes.
    pub package_bytes: u64,
    /// The largest manifest in bytes.
    pub manifest_bytes: u64,
    /// Time to connect.
    pub connect: Duration,
    /// Time without a byte.
    pub silence: Duration,
    /// Time for the whole of a pull or a publishing.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            package_bytes: 65 << 20,
            manifest_bytes: 4 << 20,
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            whole: Duration::from_secs(600),
        }
    }
}

/// One registry as one pull sees it.
#[derive(Debug)]
pub(crate) struct Registry<'a> {
    client: Client,
    reference: &'a OciReference,
    credentials: Option<&'a Credentials>,
    token: Option<String>,
    /// Whether the registry said that it takes user and password.
    basic: bool,
}

/// What a registry asks for before it answers.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        reference: &'a OciReference,
        credentials: Option<&'a Credentials>,
        limits: &Limits,
    ) -> Result<Self, RegistryError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(limits.connect)
            .read_timeout(limits.silence)
            .timeout(limits.whole)
            .no_proxy()
            .user_agent(concat!("peerup/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreachable(reference, &error))?;
        Ok(Self {
            client,
            reference,
            credentials,
            token: None,
            basic: false,
        })
    }

    /// Gets what lies at a path of the repository, as at most `most` bytes. Where `elsewhere` says so, the
    /// registry may send us on; our name and password stay with it.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        accept: &str,
        most: u64,
        elsewhere: Elsewhere,
    ) -> Result<Vec<u8>, RegistryError> {
        let what = format!("{}/{path}", self.reference.repository());
        let url = format!("{}/{path}", self.reference.api());
        let url = Url::parse(&url).map_err(|error| self.unreachable_because(error.to_string()))?;
        let mut response = self.send(url.clone(), accept).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.authorize(&response).await? {
            response = self.send(url.clone(), accept).await?;
        }
        let mut at = url;
        for _ in 0..=MAX_REDIRECTS {
            if !response.status().is_redirection() {
                return self.body(response, &what, most).await;
            }
            at = self.next_stop(&at, &response, elsewhere)?;
            // Bytes that lie elsewhere are had without saying who we are.
            response = self
                .client
                .get(at.clone())
                .send()
                .await
                .map_err(|error| unreachable(self.reference, &error))?;
        }
        Err(self.redirect(&at, "it has sent us on too often"))
    }

    async fn send(&self, url: Url, accept: &str) -> Result<Response, RegistryError> {
        let request = self.client.get(url).header("accept", accept);
        self.with_name(request)
            .send()
            .await
            .map_err(|error| unreachable(self.reference, &error))
    }

    fn with_name(&self, request: RequestBuilder) -> RequestBuilder {
        match (&self.token, self.credentials) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(login)) if self.basic => request.basic_auth(&login.user, Some(&login.password)),
            _ => request,
        }
    }

    /// Does what the registry asks for; returns whether to try again.
    async fn authorize(&mut self, response: &Response) -> Result<bool, RegistryError> {
        let asked = response
            .headers()
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok());
        match challenge(asked.unwrap_or_default()) {
            Challenge::Basic if self.credentials.is_some() && !self.basic => {
                self.basic = true;
                Ok(true)
            }
            Challenge::Bearer { realm, service } => {
                self.token = Some(self.fetch_token(&realm, service.as_deref()).await?);
                Ok(true)
            }
            Challenge::Basic | Challenge::Unknown => Ok(false),
        }
    }

    async fn fetch_token(&self, realm: &str, service: Option<&str>) -> Result<String, RegistryError> {
        let mut url =
            Url::parse(realm).map_err(|error| self.unreachable_because(format!("its realm: {error}")))?;
        if !self.may_go_to(&url) {
            return Err(self.redirect(&url, "a login would travel without TLS"));
        }
        let scope = format!("repository:{}:pull", self.reference.repository());
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let mut request = self.client.get(url);
        if let Some(login) = self.credentials {
            request = request.basic_auth(&login.user, Some(&login.password));
        }
        let response = request
            .send()
            .await
            .map_err(|error| unreachable(self.reference, &error))?;
        let body = self.body(response, "a token", MAX_TOKEN_BYTES).await?;
        let token: Token = serde_json::from_slice(&body)
            .map_err(|error| self.unreachable_because(format!("its token: {error}")))?;
        token
            .token
            .or(token.access_token)
            .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| self.unreachable_because("its token is none".to_owned()))
    }

    /// Reads an answer of at most `most` bytes.
    async fn body(&self, mut response: Response, what: &str, most: u64) -> Result<Vec<u8>, RegistryError> {
        let registry = || self.reference.registry().to_owned();
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(RegistryError::Unauthorized {
                    registry: registry(),
                    repository: self.reference.repository().to_owned(),
                });
            }
            StatusCode::NOT_FOUND => {
                return Err(RegistryError::NotFound {
                    registry: registry(),
                    what: what.to_owned(),
                });
            }
            status => {
                return Err(RegistryError::Status {
                    registry: registry(),
                    what: what.to_owned(),
                    status: status.as_u16(),
                });
            }
        }
        let too_large = || RegistryError::TooLarge {
            registry: registry(),
            what: what.to_owned(),
            most,
        };
        if response.content_length().is_some_and(|length| length > most) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| unreachable(self.reference, &error))?
        {
            if (bytes.len() + chunk.len()) as u64 > most {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn next_stop(&self, from: &Url, response: &Response, elsewhere: Elsewhere) -> Result<Url, RegistryError> {
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| from.join(location).ok());
        let Some(target) = target else {
            return Err(self.unreachable_because("it sends us on without saying where".to_owned()));
        };
        if elsewhere == Elsewhere::Never {
            return Err(self.redirect(&target, "a manifest is had from the registry alone"));
        }
        if !self.may_go_to(&target) {
            return Err(self.redirect(
                &target,
                "that place has no TLS, or lies off this machine and the registry is on it",
            ));
        }
        Ok(target)
    }

    /// With TLS anywhere; without it only on this machine, and only where the registry is on it too.
    fn may_go_to(&self, url: &Url) -> bool {
        let loopback = url.host_str().is_some_and(is_loopback_host);
        match url.scheme() {
            "https" => !self.reference.is_loopback() || loopback,
            "http" => self.reference.is_loopback() && loopback,
            _ => false,
        }
    }

    fn redirect(&self, target: &Url, reason: &'static str) -> RegistryError {
        let mut shown = target.clone();
        shown.set_query(None);
        RegistryError::Redirect {
            registry: self.reference.registry().to_owned(),
            target: shown.to_string(),
            reason,
        }
    }

    fn unreachable_because(&self, reason: String) -> RegistryError {
        RegistryError::Unreachable {
            registry: self.reference.registry().to_owned(),
            reason,
        }
    }
}

/// Whether bytes may lie at another place than the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// They are checked against a digest, so anybody may hold them.
    Allowed,
    /// What names the digests comes from the registry itself.
    Never,
}

fn unreachable(reference: &OciReference, error: &reqwest::Error) -> RegistryError {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    RegistryError::Unreachable {
        registry: reference.registry().to_owned(),
        reason,
    }
}

/// Reads a `WWW-Authenticate` header.
fn challenge(text: &str) -> Challenge {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Challenge::Basic;
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Challenge::Unknown;
    }
    let value = |wanted: &str| {
        rest.split(',').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            let found = key.eq_ignore_ascii_case(wanted);
            found.then(|| value.trim_matches('"').to_owned())
        })
    };
    match value("realm") {
        Some(realm) => Challenge::Bearer {
            realm,
            service: value("service"),
        },
        None => Challenge::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read() {
        assert_eq!(challenge("Basic realm=\"x\""), Challenge::Basic);
        assert_eq!(
            challenge("Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a:pull\""),
            Challenge::Bearer {
                realm: "https://a/t".to_owned(),
                service: Some("s".to_owned()),
            }
        );
        for bad in ["", "Bearer", "Bearer service=\"s\"", "Negotiate", "Bearer realm"] {
            assert_eq!(challenge(bad), Challenge::Unknown, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_challenge_never_panics(text in ".{0,100}") {
            let _ = challenge(&text);
            let _ = challenge(&format!("Bearer {text}"));
        }
    }
}
