//! One GET to a daemon's socket, for measurements in which the start of a process would show.

use std::{
    fs,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A daemon that runs answers a question about its state at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the `data` of the answer.
///
/// # Errors
/// Where nobody listens, the answer does not come or is an error.
pub(super) fn get(folder: &Path, path: &str) -> Result<Value> {
    let cookie = fs::read_to_string(folder.join(".daemon-cookie")).context("no cookie")?;
    // A socket's path has to be short; through a descriptor of its folder it always is.
    let held = fs::File::open(folder)?;
    let socket = format!("/proc/self/fd/{}/peerup.sock", held.as_raw_fd());
    let mut stream = UnixStream::connect(socket).context("no daemon listens")?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        cookie.trim()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    data(&answer)
}

fn data(answer: &str) -> Result<Value> {
    let (_, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let value: Value = serde_json::from_str(body).with_context(|| format!("no JSON: {answer:?}"))?;
    match value.get("data") {
        Some(data) => Ok(data.clone()),
        None => bail!("{body}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_an_answer_is_taken_out_and_an_error_is_one() {
        let answer = |body: &str| format!("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n{body}");
        assert_eq!(data(&answer(r#"{"data":[1]}"#)).unwrap(), serde_json::json!([1]));
        assert!(data(&answer(r#"{"error":{"code":"denied"}}"#)).is_err());
        assert!(data("not http").is_err());
    }
}
