//! A small HTTP server for scrapes and health checks, on an address that the operator chose.
//!
//! Everything about a request is bounded: connections, its head, how long it may take in all. There is one request
//! for each connection and no body. On a loopback address a request has to name one as its host, so that a page in a
//! browser cannot read it under a name of its own.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::accept::{AcceptBounds, accept_bounded};

/// The content type of a [`Sheet`](crate::Sheet)'s text.
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is under way when the place is closed is not answered: it moves, or the process ends.
const BOUNDS: AcceptBounds = AcceptBounds {
    connections: 32,
    last_answers: Duration::ZERO,
};
/// How long a client may take to send a request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take in all: who reads its answer slower than this gets no more of it.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 8 << 10;
/// Serves until `stop` is cancelled.
pub(crate) async fn serve_scrapes(listener: TcpListener, router: Router, stop: CancellationToken) {
    let local = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback());
    let router = match local {
        true => router.layer(middleware::from_fn(only_local_names)),
        false => router,
    };
    let serve = |(stream, from)| Some(serve_one(stream, from, router.clone()));
    accept_bounded(|| listener.accept(), "the place for scrapes", BOUNDS, stop, serve).await;
}

async fn serve_one(stream: TcpStream, from: SocketAddr, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%from, %error, "a scrape ended early"),
        Err(_) => tracing::debug!(%from, "a scrape took too long"),
    }
}

async fn only_local_names(request: Request<Body>, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    match host.is_some_and(is_local_name) {
        true => next.run(request).await,
        false => (
            StatusCode::MISDIRECTED_REQUEST,
            "the Host header names another machine\n",
        )
            .into_response(),
    }
}

fn is_local_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| match port.parse::<u16>() {
            Ok(_) => name,
            Err(_) => host,
        });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn served() -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/healthz", get(|| async { "well\n" }));
        tokio::spawn(serve_scrapes(listener, router, stop.clone()));
        (address, stop)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The server may close while the rest of a request that is too long is under way.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn answers_one_request_and_closes() {
        let (address, stop) = served().await;
        let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: localhost:9090\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("well\n"),
            "{answer}"
        );
        stop.cancel();
    }

    #[tokio::test]
    async fn a_name_that_is_not_this_machine_gets_nothing() {
        let (address, _stop) = served().await;
        let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
        let answer = ask(address, "GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.0 421") || answer.starts_with("HTTP/1.1 421"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (address, _stop) = served().await;
        let request = format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}",
            "x".repeat(64 << 10)
        );
        let answer = ask(address, &request).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_say_nothing_keep_nobody_out_for_long() {
        let (address, _stop) = served().await;
        let mut silent = Vec::new();
        for _ in 0..BOUNDS.connections + 8 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = ask(address, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        assert!(answer.ends_with("well\n"), "{answer}");
    }

    #[test]
    fn names_of_this_machine() {
        for good in [
            "localhost",
            "localhost:9090",
            "127.0.0.1:9",
            "[::1]:9",
            "[::1]",
            "127.1.2.3",
        ] {
            assert!(is_local_name(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:80",
            "192.0.2.1:80",
            "localhost.evil.example",
            "localhost:x",
        ] {
            assert!(!is_local_name(bad), "{bad}");
        }
    }
}
