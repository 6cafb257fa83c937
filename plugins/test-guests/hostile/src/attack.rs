//! Attacks on the host's limits. None of these returns, but for the one that says so.

use std::hint::black_box;

use peerup_plugin_sdk::{Error, log, output, peers, spawn};
use serde_json::json;

const CHUNK: usize = 1 << 20;

/// Burns CPU without ever calling the host.
pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Allocates, and touches each page, until there is no more.
pub(crate) fn allocate() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; CHUNK]));
    }
}

/// Asks who is connected a thousand times at once, and tells how many calls the host turned away. Ends, unlike
/// the others, because the host bounds it.
pub(crate) async fn flood_the_peers() -> Result<(), Error> {
    let calls: Vec<_> = (0..1_000).map(|_| spawn(peers::connected())).collect();
    let (mut answered, mut refused) = (0_u64, 0_u64);
    for call in calls {
        match call.await {
            Some(Ok(_)) => answered += 1,
            Some(Err(Error::Limit(_))) => refused += 1,
            Some(Err(other)) => return Err(other),
            None => return Err(Error::closed("a call was cancelled")),
        }
    }
    output::emit("flooded", &json!({ "answered": answered, "refused": refused })).await
}

/// Traps.
pub(crate) fn trap() -> ! {
    std::process::abort()
}

/// Writes long log lines without a pause.
pub(crate) fn flood_the_log() -> ! {
    let line = "x".repeat(CHUNK);
    loop {
        log::emit(log::Level::Error, &line, &[("key", &line)]);
    }
}

/// Calls itself until the stack is gone.
pub(crate) fn overflow_the_stack() -> ! {
    black_box(deeper(black_box(1)));
    trap()
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the attack")]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    deeper(black_box(depth + 1)) + black_box(frame).len() as u64
}
