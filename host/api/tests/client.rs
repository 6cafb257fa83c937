//! The client against a daemon that rotates its cookie, and against one whose queue is full.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

use std::path::Path;

use peerup_api::{COOKIE_FILE, Client, ClientError, DoneInfo, SOCKET_FILE};
use peerup_model::ErrorCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

/// Answers one request, with 401 where it does not carry the cookie; does something before. Returns the request's head.
async fn answer(listener: &UnixListener, cookie: &str, before: impl FnOnce()) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    before();
    let (status, body) = match head.contains(&format!("Bearer {cookie}\r\n")) {
        true => ("200 OK", r#"{"data":{"status":"done"}}"#),
        false => (
            "401 Unauthorized",
            r#"{"error":{"code":"unauthorized","message":"the cookie is missing or not this daemon's"}}"#,
        ),
    };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    head
}

fn write(folder: &Path, cookie: &str) {
    std::fs::write(folder.join(COOKIE_FILE), cookie).unwrap();
}

#[tokio::test]
async fn a_cookie_that_was_rotated_is_read_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(SOCKET_FILE)).unwrap();
    write(folder.path(), "old");
    let client = Client::new(folder.path());
    let daemon = async {
        let first = answer(&listener, "new", || write(folder.path(), "new")).await;
        assert!(first.contains("Bearer old\r\n"), "{first}");
        answer(&listener, "new", || {}).await
    };
    let (done, head) = tokio::join!(client.get::<DoneInfo>("/v1/status"), daemon);
    assert_eq!(done.unwrap().status, "done");
    assert!(head.contains("Bearer new"), "{head}");

    // A second refusal is told, not tried for ever.
    let daemon = async {
        for _ in 0..2 {
            answer(&listener, "another", || {}).await;
        }
    };
    let (refused, ()) = tokio::join!(client.get::<DoneInfo>("/v1/status"), daemon);
    match refused.unwrap_err() {
        ClientError::Refused(failure) => assert_eq!(failure.code, ErrorCode::Unauthorized),
        other => panic!("{other}"),
    }
}

/// A listener whose queue holds hardly any, and a connection that does not wait for room.
mod queue {
    use std::{os::unix::net::UnixListener, path::Path};

    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    };

    fn socket() -> rustix::fd::OwnedFd {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    }

    pub(super) fn listener(path: &Path) -> UnixListener {
        let socket = socket();
        bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        listen(&socket, 1).unwrap();
        socket.into()
    }

    pub(super) fn fill(path: &Path) -> Vec<rustix::fd::OwnedFd> {
        let address = SocketAddrUnix::new(path).unwrap();
        let mut waiting = Vec::new();
        loop {
            let socket = socket();
            match connect(&socket, &address) {
                Ok(()) => waiting.push(socket),
                Err(error) => {
                    assert_eq!(error, rustix::io::Errno::AGAIN);
                    return waiting;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join(SOCKET_FILE);
    let listener = queue::listener(&socket);
    write(folder.path(), "cookie");
    let waiting = queue::fill(&socket);
    let client = Client::new(folder.path());
    let asking = tokio::spawn(async move { client.get::<DoneInfo>("/v1/status").await });
    // It finds no room at its first try.
    tokio::task::yield_now().await;
    let listener = UnixListener::from_std(listener).unwrap();
    for _ in &waiting {
        listener.accept().await.unwrap();
    }
    answer(&listener, "cookie", || {}).await;
    assert_eq!(asking.await.unwrap().unwrap().status, "done");
}
