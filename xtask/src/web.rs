//! A tiny HTTP server with one page, and a client that fetches it: what the demo sends through the tunnel.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// How long one read or write of the client may take.
const IO_TIMEOUT: Duration = Duration::from_secs(20);
/// A page larger than this is not ours.
const MAX_PAGE: u64 = 1 << 20;
/// A request head larger than this is no browser's.
const MAX_HEAD: u64 = 64 << 10;

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>It came through the sandbox</title>
<style>
  body { font: 18px/1.6 system-ui, sans-serif; max-width: 38em; margin: 4em auto; padding: 0 1em; color: #223; }
  h1 { font-size: 1.6em; } code { background: #eef; padding: .1em .3em; border-radius: 4px; }
</style>
<h1>This page came through a peerup tunnel</h1>
<p>Your browser spoke plain HTTP to <code>peerup proxy</code>. That asked the <code>tcp-proxy</code> plugin, a
WebAssembly component without rights of its own, to open a stream to the other node. There a fresh instance of
the same plugin was given the stream, connected it to this web server, and ended; the host carries the bytes.</p>
<p>Between the two nodes everything is encrypted, and neither would have answered a stranger.</p>
</html>
"#;

/// The server's address; it serves until the process ends.
pub(crate) struct WebServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl WebServer {
    /// Starts the server on a free loopback port.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port for the web server")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    // A browser that goes away early is no failure of the server.
                    let _ = answer(&stream);
                });
            }
        });
        Ok(Self { address })
    }
}

fn answer(mut stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    let mut reader = BufReader::new(stream.take(MAX_HEAD));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line.trim_end() != "" {
        line.clear();
    }
    let wanted = first.split_whitespace().nth(1).unwrap_or_default();
    let (status, body) = match wanted {
        "/" => ("200 OK", PAGE),
        _ => ("404 Not Found", "there is one page here, /\n"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()?;
    Ok(())
}

/// Fetches `/` from there and returns the body.
///
/// # Errors
/// Where nobody answers, or with anything but 200.
pub(crate) fn fetch(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream
        .take(MAX_PAGE)
        .read_to_string(&mut answer)
        .with_context(|| format!("no answer over {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "the answer is {status:?}");
    Ok(body.to_owned())
}

/// Returns the title of a page.
pub(crate) fn title(page: &str) -> &str {
    let after = page.split_once("<title>").map(|(_, after)| after);
    after
        .and_then(|after| after.split_once("</title>"))
        .map_or("(no title)", |(title, _)| title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_served_and_fetched() {
        let server = WebServer::start().unwrap();
        let page = fetch(&server.address.to_string()).unwrap();
        assert_eq!(title(&page), "It came through the sandbox");
    }
}
