//! Posts a message to an address of the operator's.
//!
//! Redirects are not followed: the header `Authorization` is for the address that the operator wrote. The address itself may
//! be a secret and stands in no error.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use peerup_api::AlertMessage;
use reqwest::{
    Client, StatusCode,
    header::{AUTHORIZATION, HeaderValue},
    redirect,
};

use super::deliver::Outcome;

/// The longest value of the header `Authorization`, in bytes.
const MAX_AUTHORIZATION: u64 = 8 << 10;

/// Makes one attempt.
pub(super) async fn post(
    url: &str,
    authorization_file: Option<&Path>,
    timeout: Duration,
    message: &AlertMessage,
) -> Outcome {
    let authorization = match authorization_file.map(read_authorization).transpose() {
        Ok(value) => value,
        Err(why) => return Outcome::Refused(why),
    };
    let plain = url.starts_with("http://");
    // Reading the system's certificates blocks on the disk; a client is made for each attempt, so that none stays.
    let client = match tokio::task::spawn_blocking(move || client(plain, timeout)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Outcome::Refused(format!("no HTTP client can be made: {}", causes(&error))),
        Err(error) => return Outcome::Again(error.to_string()),
    };
    let body = serde_json::to_vec(message).unwrap_or_default();
    let mut request = client
        .post(url)
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(body);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    match request.send().await {
        Ok(answer) => judged(answer.status()),
        Err(error) if error.is_builder() => Outcome::Refused(causes(&error.without_url())),
        Err(error) if error.is_timeout() => Outcome::Again(format!("no answer within {timeout:?}")),
        Err(error) => Outcome::Again(causes(&error.without_url())),
    }
}

fn client(plain: bool, timeout: Duration) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("peerup/", env!("CARGO_PKG_VERSION")));
    // Without TLS there is nothing to check, and a machine without certificates can send all the same.
    match plain {
        true => builder.tls_certs_only([]).build(),
        false => builder.build(),
    }
}

/// What an answer means: a server that is busy is asked again, one that says no is not.
fn judged(status: StatusCode) -> Outcome {
    match status {
        status if status.is_success() => Outcome::Delivered(status.to_string()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Outcome::Again(status.to_string()),
        status if status.is_server_error() => Outcome::Again(status.to_string()),
        status if status.is_redirection() => Outcome::Refused(format!(
            "{status}: redirects are not followed; write the address that it leads to"
        )),
        status => Outcome::Refused(status.to_string()),
    }
}

/// Read for each attempt, so that a new secret is in force at once.
fn read_authorization(path: &Path) -> Result<HeaderValue, String> {
    let shown = path.display();
    let failed = |why: &dyn std::fmt::Display| format!("authorization_file {shown}: {why}");
    let found = std::fs::metadata(path).map_err(|error| failed(&error))?;
    if found.permissions().mode() & 0o077 != 0 {
        return Err(failed(&format!(
            "it is open to other users; run: chmod 600 {shown}"
        )));
    }
    if !found.is_file() || found.len() > MAX_AUTHORIZATION {
        return Err(failed(&format!(
            "it is no file of at most {MAX_AUTHORIZATION} bytes"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let mut value = HeaderValue::from_str(text.trim())
        .map_err(|_| failed(&"it has to be one line, such as `Bearer TOKEN`"))?;
    if value.is_empty() {
        return Err(failed(&"it is empty"));
    }
    value.set_sensitive(true);
    Ok(value)
}

/// An error with what is behind it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_busy_is_asked_again_and_who_says_no_is_not() {
        let again = |code: u16| matches!(judged(StatusCode::from_u16(code).unwrap()), Outcome::Again(_));
        assert!([500, 502, 503, 504, 429, 408].into_iter().all(again));
        assert!(![200, 204, 301, 400, 401, 403, 404, 410].into_iter().any(again));
        assert!(matches!(judged(StatusCode::NO_CONTENT), Outcome::Delivered(_)));
    }

    #[test]
    fn the_secret_comes_from_a_file_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read_authorization(&path)
        };
        assert_eq!(write("Bearer abc\n", 0o600).unwrap(), "Bearer abc");
        assert!(write("Bearer abc", 0o640).unwrap_err().contains("chmod 600"));
        assert!(write("a\nb", 0o600).is_err());
        assert!(write("", 0o600).is_err());
        assert!(write(&"a".repeat(9000), 0o600).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(read_authorization(&path).unwrap_err().contains("token"));
    }
}
