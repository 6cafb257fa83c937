//! How the API answers: the envelope, errors with their status, text where text is asked for, NDJSON.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use peerup_api::{Answer, ErrorBody};
use peerup_model::{ErrorCode, Failure};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::text::render;

/// Lines of a stream that wait for a slow reader before the writer waits too.
pub(super) const LINES_IN_FLIGHT: usize = 64;

/// A failure as an answer.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(mut self) -> Response {
        if self.0.message.len() > MAX_MESSAGE {
            let end = self.0.message.floor_char_boundary(MAX_MESSAGE);
            self.0.message.truncate(end);
            self.0.message.push_str(" ...");
        }
        let status =
            StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let failure = self.0.clone();
        let mut response = (status, Json(ErrorBody { error: self.0 })).into_response();
        response.extensions_mut().insert(failure);
        response
    }
}

/// Bytes of a message that are answered: it may hold what the caller sent.
const MAX_MESSAGE: usize = 2048;

/// A JSON body whose faults are answered in the API's own form.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        // curl without a header sends a form type; the body is JSON all the same.
        let (mut parts, body) = request.into_parts();
        parts
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request::from_parts(parts, body);
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(Failure::new(ErrorCode::Invalid, rejection.body_text())
                .with_hint("send JSON as GET /v1/openapi.json has it")
                .into()),
        }
    }
}

/// Parameters of the path, whose faults are answered in the API's own form.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection| Failure::new(ErrorCode::Invalid, rejection.body_text()).into())
    }
}

/// Parameters of the query, likewise.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value))
            .map_err(|rejection| Failure::new(ErrorCode::Invalid, rejection.body_text()).into())
    }
}

/// How the caller wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `{"data": ...}`, streams as NDJSON.
    Json,
    /// Lines for people: `?format=text` or `Accept: text/plain`.
    Text,
    /// Streams only: each line `{"text", "json"}`, for our own command line.
    Both,
}

impl<S: Send + Sync> FromRequestParts<S> for Format {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Self::of(&parts.uri, &parts.headers)
    }
}

impl Format {
    fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        for pair in uri.query().unwrap_or_default().split('&') {
            match pair.strip_prefix("format=") {
                Some("json") => return Ok(Self::Json),
                Some("text") => return Ok(Self::Text),
                Some("both") => return Ok(Self::Both),
                Some(other) => {
                    let message = format!("the format {other:?} is not known; use json or text");
                    return Err(Failure::new(ErrorCode::Invalid, message).into());
                }
                None => {}
            }
        }
        let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Ok(if accepts.is_some_and(|value| value.starts_with("text/plain")) {
            Self::Text
        } else {
            Self::Json
        })
    }

    /// Answers with one object.
    pub(super) fn answer(self, data: impl Serialize) -> Response {
        if self != Self::Text {
            return Json(Answer { data }).into_response();
        }
        match serde_json::to_value(data) {
            Ok(value) => text_response(render(&value)),
            Err(error) => Refusal(Failure::new(ErrorCode::Failed, error.to_string())).into_response(),
        }
    }

    /// Returns one line of a stream, with its newline.
    pub(super) fn line(self, text: &str, json: &Value) -> Bytes {
        let mut line = match self {
            Self::Json => json.to_string(),
            Self::Text => text.to_owned(),
            Self::Both => serde_json::json!({ "text": text, "json": json }).to_string(),
        };
        line.push('\n');
        line.into()
    }

    /// Returns the last line of a stream that failed.
    pub(super) fn failure_line(self, failure: &Failure) -> Bytes {
        let json = serde_json::json!({ "error": failure });
        match self {
            Self::Json | Self::Both => format!("{json}\n").into(),
            Self::Text => failure_text(failure).into(),
        }
    }

    /// Answers with lines as they come.
    pub(super) fn stream(self, lines: mpsc::Receiver<Bytes>) -> Response {
        let body = Body::from_stream(ReceiverStream::new(lines).map(Ok::<_, std::convert::Infallible>));
        let kind = if self == Self::Text {
            "text/plain; charset=utf-8"
        } else {
            "application/x-ndjson"
        };
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

fn text_response(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Answers a failure as lines for people where the caller asked for text; the status stays.
pub(super) async fn failures_as_text(request: Request, next: Next) -> Response {
    let is_text = matches!(Format::of(request.uri(), request.headers()), Ok(Format::Text));
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Failure>() {
        Some(failure) if is_text => {
            (response.status(), text_response(failure_text(&failure))).into_response()
        }
        _ => response,
    }
}

/// Says what failed and what to do now, each line of them with its word.
fn failure_text(failure: &Failure) -> String {
    let lines =
        |word: &str, text: &str| -> String { text.lines().map(|line| format!("{word}: {line}\n")).collect() };
    let next = failure.hint.as_deref().unwrap_or_default();
    lines("error", &failure.message) + &lines("next", next)
}
