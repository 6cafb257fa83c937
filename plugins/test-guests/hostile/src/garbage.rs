//! What is too large for any use, and what is no text at all, in both directions.

use peerup_plugin_sdk::{
    Error, PathPolicy, log, name_list, names, output, peers,
    store::{self, Batch},
    streams, tcp, udp,
};
use serde_json::json;

/// More than one call may bring.
const HUGE: usize = 5 << 20;

fn huge() -> String {
    "x".repeat(HUGE)
}

/// Bytes that are no text, as a text.
fn no_text() -> String {
    // SAFETY: it is not safe, and nothing but the host looks at it: that is the attack.
    unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe, 0xc0, 0x80]) }
}

/// Passes something huge, or no text, to one call of the host.
async fn pass(call: &str, text: String) -> Result<(), Error> {
    match call {
        "open-peer" => streams::open(&text, "/peerup/web/1.0.0", PathPolicy::PreferDirect)
            .await
            .map(drop),
        "open-protocol" => streams::open("home", &text, PathPolicy::PreferDirect)
            .await
            .map(drop),
        "connect" => tcp::connect(&text).await.map(drop),
        "listen" => tcp::listen(&text).await.map(drop),
        "udp-bind" => udp::bind(&text).await.map(drop),
        "udp-connect" => udp::connect(&text).await.map(drop),
        "resolve" => names::resolve(&text).await.map(drop),
        "describe" => peers::describe(&text).await.map(drop),
        "find" => name_list::find(&text).await.map(drop),
        "store-get" => store::get(&text).await.map(drop),
        "store-set" => store::set(&text, text.as_bytes()).await,
        "store-keys" => store::keys(&text, Some(&text), u32::MAX).await.map(drop),
        "store-batch" => {
            (0..100_000)
                .fold(Batch::new(), |batch, index| batch.set(format!("{index}"), b"x"))
                .apply()
                .await
        }
        "emit" => output::emit(&text, &json!({ "text": "x" })).await,
        "log" => {
            log::emit(log::Level::Error, &text, &[(&text, &text)]);
            Err(Error::invalid("it was logged"))
        }
        other => Err(Error::invalid(format!("no call {other:?} to pass garbage to"))),
    }
}

pub(crate) async fn behave(behaviour: &str) -> Result<(), Error> {
    match behaviour {
        "garbage-huge-error" => Err(Error::refused(huge())),
        // Fits into one call, and is still no use to anybody.
        "garbage-long-error" => Err(Error::refused("\u{1b}[31m\n\0".repeat(100_000))),
        "garbage-no-text" => Err(Error::refused(no_text())),
        other => match (other.strip_prefix("huge-"), other.strip_prefix("no-text-")) {
            (Some(call), _) => pass(call, huge()).await,
            (_, Some(call)) => pass(call, no_text()).await,
            _ => Err(Error::invalid(format!("no garbage {other:?}"))),
        },
    }
}
