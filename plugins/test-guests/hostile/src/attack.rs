//! Attacks on the host's limits. None of these returns.

use std::hint::black_box;

use peerup_plugin_sdk::log;

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
