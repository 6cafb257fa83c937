//! The daemon API: HTTP/1.1 on a Unix socket, or on a pipe within the process.
//!
//! On the socket a request needs the cookie, in constant time, and comes from the user who runs the daemon
//! (or root). Bodies are bounded, connections are bounded, and a slow client holds up nobody else.

mod answer;
mod config;
mod events;
mod limits;
mod proxies;
mod routes;
mod streams;
mod text;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::header,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{AcceptBounds, accept_own};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
};
use tokio_util::sync::CancellationToken;

use self::{
    answer::Refusal,
    limits::{Keeper, Stalling},
};
use crate::{app::App, endpoint::Cookie};

/// Connections to the socket at once.
const BOUNDS: AcceptBounds = AcceptBounds {
    connections: 256,
    last_answers: LAST_ANSWERS,
};
/// How long a client may take to send a request's head.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long requests under way may go on once the node is ending.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Builds the API. Without a cookie whoever can reach it may use it: only for a pipe within the process.
pub(crate) fn router(app: Arc<App>, cookie: Option<Cookie>) -> Router {
    let routes = Router::new()
        .route("/v1/status", get(routes::status))
        .route("/v1/services", get(routes::services))
        .route("/v1/services/{name}", put(routes::switch_service))
        .route("/v1/expose", post(routes::expose))
        .route("/v1/expose/{name}", delete(routes::unexpose))
        .route("/v1/peers", get(routes::peers))
        .route("/v1/paths", get(routes::paths))
        .route("/v1/why/{peer}", get(routes::why))
        .route("/v1/alerts", get(routes::alerts))
        .route("/v1/alerts/{name}/test", post(routes::test_alert))
        .route("/v1/reconnect", post(routes::reconnect))
        .route("/v1/auth", get(routes::auth).post(routes::authorize))
        .route("/v1/auth/{peer}", delete(routes::deauthorize))
        .route(
            "/v1/relays",
            get(routes::relays)
                .post(routes::add_relay)
                .delete(routes::remove_relay),
        )
        .route("/v1/ping", post(streams::ping))
        .route("/v1/traceroute", post(streams::traceroute))
        .route("/v1/resolve", post(routes::resolve))
        .route("/v1/connect", get(routes::connections).post(streams::connect))
        .route("/v1/connect/{id}", delete(routes::disconnect))
        .route("/v1/proxies", post(proxies::add))
        .route("/v1/proxies/{name}", put(proxies::switch).delete(proxies::remove))
        .route("/v1/invite", post(routes::invite))
        .route(
            "/v1/invite/{id}",
            get(routes::invite_outcome).delete(routes::cancel_invite),
        )
        .route("/v1/join", post(routes::join))
        .route("/v1/plugins", get(routes::plugins))
        .route("/v1/plugins/{name}", get(routes::plugin))
        .route("/v1/plugins/disable-all", post(routes::disable_plugins))
        .route("/v1/plugins/{name}/enable", post(routes::enable_plugin))
        .route("/v1/plugins/{name}/disable", post(routes::disable_plugin))
        .route("/v1/plugins/{name}/reload", post(routes::reload_plugin))
        .route("/v1/plugins/{name}/confirm", post(routes::confirm_plugin))
        .route("/v1/plugins/{name}/logs", get(streams::plugin_logs))
        .route("/v1/plugins/{name}/calls", get(streams::plugin_calls))
        .route("/v1/plugins/{name}/commands/{command}", post(streams::command))
        .route("/v1/config/reload", post(routes::reload))
        .route("/v1/config/status", get(config::status))
        .route("/v1/config/plan", get(config::plan_file).post(config::plan))
        .route("/v1/config/apply", post(config::apply))
        .route("/v1/config/confirm", post(config::confirm))
        .route("/v1/config/rollback", post(config::roll_back))
        .route("/v1/events", get(events::events))
        .route("/v1/openapi.json", get(routes::openapi))
        .route("/v1/cookie/rotate", post(routes::rotate_cookie))
        .route("/v1/logs", get(streams::logs))
        .route("/v1/shutdown", post(routes::shutdown))
        .route("/metrics", get(routes::metrics))
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app.clone())
        .layer(Extension(cookie.clone()))
        // Bodies are whole and short enough once they get here.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(
            Keeper::new(&app),
            limits::to_the_end,
        ))
        .layer(middleware::from_fn(limits::whole_body));
    let routes = match cookie {
        None => routes,
        Some(cookie) => routes.layer(middleware::from_fn_with_state(cookie, check)),
    };
    routes.layer(middleware::from_fn(answer::failures_as_text))
}

/// Lets a request through that carries the cookie and is meant for this API.
async fn check(State(cookie): State<Cookie>, request: Request<Body>, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    // A browser that was tricked into speaking to the socket, or a proxy in front of it, names another host.
    if !matches!(host, Some("peerup" | "localhost" | "unix" | "d")) {
        return refuse(
            ErrorCode::Invalid,
            "the Host header must be `peerup` or `localhost`",
            "ask for http://localhost/..., such as: curl --unix-socket peerup.sock http://localhost/v1/status",
        );
    }
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if !cookie.is(given) {
        return refuse(
            ErrorCode::Unauthorized,
            "the cookie is missing or not this daemon's",
            "send Authorization: Bearer with the content of .daemon-cookie beside the config",
        );
    }
    next.run(request).await
}

fn refuse(code: ErrorCode, message: &str, hint: &str) -> Response {
    Refusal(Failure::new(code, message).with_hint(hint)).into_response()
}

/// Where all endpoints stand.
const ENDPOINTS: &str = "GET /v1/openapi.json has them all";

async fn no_such_endpoint(request: Request<Body>) -> Refusal {
    let failure = Failure::new(
        ErrorCode::NotFound,
        format!("there is no endpoint {}", request.uri().path()),
    );
    Refusal(failure.with_hint(ENDPOINTS))
}

async fn wrong_method(request: Request<Body>) -> Refusal {
    let message = format!("{} takes no {}", request.uri().path(), request.method());
    Refusal(Failure::new(ErrorCode::Invalid, message).with_hint(ENDPOINTS))
}

/// Serves the socket until the node ends; then requests under way have a moment to be answered.
pub(crate) async fn serve(listener: UnixListener, router: Router, shutdown: CancellationToken) {
    let serve = move |stream| serve_connection(stream, router.clone());
    accept_own(listener, "the API's socket", BOUNDS, shutdown, serve).await;
}

/// Serves one connection.
pub(crate) async fn serve_connection(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .half_close(false)
        .serve_connection(TokioIo::new(Stalling::new(io)), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}
