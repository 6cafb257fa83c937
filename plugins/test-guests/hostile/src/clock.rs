//! Abuse of clocks: waits that never end, waits that are none, and more of them than anybody needs.

use std::{hint::black_box, time::Duration};

use peerup_plugin_sdk::{
    Error,
    bindings::wasi::clocks::monotonic_clock::{now, wait_for, wait_until},
    spawn, time,
};

/// Half a million years.
const CENTURIES: Duration = Duration::from_secs(u64::MAX / 1_000_000);

pub(crate) async fn behave(behaviour: &str) -> Result<(), Error> {
    match behaviour {
        "clock-centuries" => time::sleep(CENTURIES).await,
        "clock-longest" => wait_for(u64::MAX).await,
        "clock-end-of-time" => wait_until(u64::MAX).await,
        // WASI 0.2 has clocks of its own, and std waits on those.
        "clock-std" => {
            #[expect(clippy::disallowed_methods, reason = "that is the attack")]
            std::thread::sleep(Duration::MAX);
        }
        "clock-spin" => loop {
            black_box(now());
        },
        "clock-nothing" => loop {
            wait_for(0).await;
        },
        "clock-past" => loop {
            wait_until(0).await;
        },
        "clock-briefest" => loop {
            wait_for(1).await;
        },
        "clock-many" => {
            let waits: Vec<_> = (0..100_000).map(|_| spawn(wait_for(u64::MAX))).collect();
            for wait in waits {
                wait.await;
            }
        }
        // Each is dropped before it is over.
        "clock-cancelled" => loop {
            let _ = time::timeout(Duration::from_nanos(1), async {
                time::sleep(CENTURIES).await;
                Ok(())
            })
            .await;
        },
        other => return Err(Error::invalid(format!("no abuse of clocks {other:?}"))),
    }
    Ok(())
}
