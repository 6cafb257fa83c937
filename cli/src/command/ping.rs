//! `ping`: shows what the ping plugin says, line by line.

use peerup_api::{Client, ClientError, PingRequest};
use peerup_daemon::Mode;
use peerup_model::{ErrorCode, Failure};
use serde::Serialize;
use serde_json::Value;

use super::{print_event, usage};
use crate::{
    arguments::Ping,
    context::Context,
    output,
    session::{Session, until_interrupted},
};

pub(crate) async fn run(context: &Context, arguments: Ping) -> Result<(), Failure> {
    let (path, _) = context.load()?;
    let session = Session::attach_or_start(context, path, Mode::Client).await?;
    let outcome = through(context, &session.client, arguments).await;
    session.finish(outcome).await
}

/// Pings through a daemon or a temporary node.
pub(super) async fn through(context: &Context, client: &Client, arguments: Ping) -> Result<(), Failure> {
    let milliseconds = |time: std::time::Duration, flag: &str| {
        u64::try_from(time.as_millis()).map_err(|_| usage(format!("{flag} is too long")))
    };
    let request = PingRequest {
        peer: arguments.peer,
        count: arguments.count,
        interval_ms: milliseconds(arguments.interval, "--interval")?,
        timeout_ms: milliseconds(arguments.timeout, "--timeout")?,
        until_direct: arguments.until_direct,
    };
    let mut statistics = Statistics::default();
    // Whether it was interrupted, apart from what the work itself came to.
    let shown = until_interrupted(async { Ok(show(context, client, &request, &mut statistics).await) }).await;
    match shown {
        Ok(done) => done?,
        Err(interrupted) => {
            statistics.tell(context)?;
            // Ending an endless ping by hand is how it ends.
            if request.count > 0 {
                return Err(interrupted);
            }
        }
    }
    if statistics.received == 0 {
        return Err(Failure::new(ErrorCode::Unreachable, "nothing came back")
            .with_hint("is its daemon running? see: peerup status"));
    }
    Ok(())
}

async fn show(
    context: &Context,
    client: &Client,
    request: &PingRequest,
    statistics: &mut Statistics,
) -> Result<(), Failure> {
    let mut lines = client
        .post_lines("/v1/ping?format=both", request)
        .await
        .map_err(ClientError::into_failure)?;
    while let Some(event) = lines.next().await.map_err(ClientError::into_failure)? {
        statistics.add(event.get("json").unwrap_or(&Value::Null));
        print_event(context, &event)?;
    }
    Ok(())
}

/// What the lines so far add up to, as the plugin tells it at the end that an interruption leaves out.
#[derive(Debug, Default, Serialize)]
struct Statistics {
    sent: u64,
    received: u64,
    lost: u64,
    loss_pct: u64,
    min_ms: Option<f64>,
    avg_ms: Option<f64>,
    max_ms: Option<f64>,
    #[serde(skip)]
    sum_ms: f64,
    /// The plugin has told its own.
    #[serde(skip)]
    told: bool,
}

impl Statistics {
    /// Counts a line of the plugin's.
    fn add(&mut self, line: &Value) {
        if line.get("stats").is_some() {
            self.told = true;
        }
        if line.get("seq").is_none() {
            return;
        }
        self.sent += 1;
        match line.get("rtt_ms").and_then(Value::as_f64) {
            None => self.lost += 1,
            Some(rtt) => {
                self.received += 1;
                self.sum_ms += rtt;
                self.min_ms = Some(self.min_ms.map_or(rtt, |min| min.min(rtt)));
                self.max_ms = Some(self.max_ms.map_or(rtt, |max| max.max(rtt)));
                let average = self.sum_ms / self.received as f64;
                // To the microsecond, as each time is.
                self.avg_ms = Some((average * 1_000.0).round() / 1_000.0);
            }
        }
        self.loss_pct = self.lost.saturating_mul(100) / self.sent;
    }

    fn text(&self) -> String {
        let counts = format!(
            "{} sent, {} received, {}% lost",
            self.sent, self.received, self.loss_pct
        );
        match (self.min_ms, self.avg_ms, self.max_ms) {
            (Some(min), Some(avg), Some(max)) => {
                format!("{counts}, rtt min/avg/max = {min:.1}/{avg:.1}/{max:.1} ms")
            }
            _ => counts,
        }
    }

    fn tell(&self, context: &Context) -> Result<(), Failure> {
        match (self.told, context.json) {
            (true, _) => Ok(()),
            (false, true) => output::json(&serde_json::json!({ "stats": self })),
            (false, false) => output::line(self.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_add_up_to_what_the_plugin_would_tell() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.text(), "0 sent, 0 received, 0% lost");
        for line in [
            json!({ "seq": 1, "rtt_ms": 45.24 }),
            json!({ "seq": 2, "rtt_ms": 1.0 }),
            json!({ "seq": 3, "rtt_ms": 30.0 }),
            json!({ "seq": 4, "error": "no answer" }),
        ] {
            statistics.add(&line);
        }
        assert_eq!(
            statistics.text(),
            "4 sent, 3 received, 25% lost, rtt min/avg/max = 1.0/25.4/45.2 ms"
        );
        assert_eq!(
            serde_json::to_string(&statistics).unwrap(),
            r#"{"sent":4,"received":3,"lost":1,"loss_pct":25,"min_ms":1.0,"avg_ms":25.413,"max_ms":45.24}"#
        );
        assert!(!statistics.told);
        statistics.add(&json!({ "stats": {} }));
        assert!(statistics.told && statistics.sent == 4);
    }
}
