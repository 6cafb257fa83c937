//! {{name}}: counts the minutes that this node has been up, over all its restarts. The command `uptime` tells them.

use std::time::Duration;

use peerup_plugin_sdk::{
    Arguments, Command, Error, Service, life, output,
    store::{self, Batch},
    time,
};
use serde::Serialize;

const MINUTE: Duration = Duration::from_secs(60);
/// Where the count is kept.
const KEY: &str = "minutes";

struct Plugin;

peerup_plugin_sdk::register!(Plugin: service, command);

impl Service for Plugin {
    async fn run() -> Result<(), Error> {
        // Ends when the plugin is switched off or replaced, or when the daemon stops.
        life::until_stopping(count()).await.unwrap_or(Ok(()))
    }
}

/// Counts for ever. A failure ends the service, and the host starts it again.
async fn count() -> Result<(), Error> {
    let start = time::now();
    let mut counted = 0;
    loop {
        time::sleep(MINUTE).await;
        // More than one where the machine slept.
        let passed = whole_minutes(start.elapsed());
        add(passed.saturating_sub(counted)).await?;
        counted = passed;
    }
}

/// Adds to the count, which another instance may have changed meanwhile.
async fn add(minutes: u64) -> Result<(), Error> {
    loop {
        let old = store::get(KEY).await?;
        let total = read(old.as_deref()).saturating_add(minutes);
        let change = Batch::new().set(KEY, total.to_string());
        if change.apply_if(KEY, old.as_deref()).await? {
            return Ok(());
        }
    }
}

/// What `uptime` tells programs.
#[derive(Serialize)]
struct Uptime {
    minutes: u64,
}

impl Command for Plugin {
    async fn run(word: String, _: Arguments) -> Result<(), Error> {
        if word != "uptime" {
            return Err(Error::invalid(format!(
                "no command {word:?}; there is `uptime`"
            )));
        }
        let minutes = read(store::get(KEY).await?.as_deref());
        output::emit(format!("{minutes} minutes"), &Uptime { minutes }).await
    }
}

fn whole_minutes(time: Duration) -> u64 {
    time.as_secs() / MINUTE.as_secs()
}

/// Reads the count as it is kept; what is missing or damaged counts as none.
fn read(kept: Option<&[u8]>) -> u64 {
    let text = kept.and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_whole() {
        assert_eq!(whole_minutes(Duration::from_secs(59)), 0);
        assert_eq!(whole_minutes(Duration::from_secs(601)), 10);
    }

    #[test]
    fn a_count_is_read_back_and_damage_is_none() {
        assert_eq!(read(Some(b"12")), 12);
        assert_eq!(read(Some(b"twelve")), 0);
        assert_eq!(read(None), 0);
    }
}
