//! `why`: the path to a peer explained. Needs the daemon, whose paths they are.

use peerup_api::{ClientError, NatInfo, WhyInfo, WhySide};
use peerup_model::Failure;

use crate::{context::Context, output, session::Session};

/// Attempts that are shown to a person; `--json` has all.
const SHOWN_ATTEMPTS: usize = 8;
/// Candidates of each side that are shown to a person.
const SHOWN_CANDIDATES: usize = 8;

pub(crate) async fn run(context: &Context, peer: &str) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let why: WhyInfo = session
        .client
        .get(&format!("/v1/why/{peer}"))
        .await
        .map_err(ClientError::into_failure)?;
    if context.json {
        return output::json(&why);
    }
    print(&why)
}

fn print(why: &WhyInfo) -> Result<(), Failure> {
    let name = why.peer.name.as_ref().unwrap_or(&why.peer.id);
    let path = match (why.path.as_deref(), &why.transport, &why.via) {
        (Some(path), Some(transport), _) => format!("{path} over {transport}"),
        (Some(path), None, Some(via)) => format!("{path} via {via}"),
        (Some(path), None, None) => path.to_owned(),
        (None, ..) => "not connected".to_owned(),
    };
    output::line(format!("{name}: {path}"))?;
    output::line(format!("  {}", why.reason))?;
    if let Some(advice) = &why.advice {
        output::line(format!("  what would help: {}", advice.text))?;
        if let Some(command) = &advice.command {
            output::line(format!("    {command}"))?;
        }
    }
    if let Some(seconds) = why.next_try_s {
        output::line(format!("  next try for a direct path in {seconds:.0} s"))?;
    }
    output::line(format!("policy: {}", why.policy))?;
    side("this side", &why.local)?;
    side("other side", &why.remote)?;
    if !why.connections.is_empty() {
        output::line("connections:")?;
    }
    for connection in &why.connections {
        let how = connection
            .transport
            .as_ref()
            .or(connection.via.as_ref())
            .map(|how| format!(" {how}"))
            .unwrap_or_default();
        let rtt = connection
            .rtt_ms
            .map(|rtt| format!(" rtt {rtt:.1}ms"))
            .unwrap_or_default();
        let seen = connection
            .last_seen_s
            .map(|seconds| format!(", answered {seconds} s ago"))
            .unwrap_or_default();
        let doubt = if connection.suspect {
            ", an answer is overdue"
        } else {
            ""
        };
        let left = connection.budget.map(|budget| {
            let bytes = budget.bytes_left.map(output::bytes);
            let time = budget.seconds_left.map(|seconds| format!("{seconds} s"));
            let parts: Vec<_> = bytes.into_iter().chain(time).collect();
            format!(", left of the circuit: {}", parts.join(" and "))
        });
        output::line(format!(
            "  {}{how}{rtt}{seen}{doubt}{}",
            connection.path,
            left.unwrap_or_default()
        ))?;
    }
    if !why.attempts.is_empty() {
        output::line("attempts, the latest first:")?;
    }
    for attempt in why.attempts.iter().rev().take(SHOWN_ATTEMPTS) {
        output::line(format!(
            "  {:>5} s ago  {:<7} {}: {}",
            attempt.ago_s, attempt.kind, attempt.target, attempt.outcome
        ))?;
    }
    for relay in &why.relays {
        let name = relay.name.as_ref().unwrap_or(&relay.peer_id);
        let error = relay.last_error.as_ref().filter(|_| !relay.reserved);
        let cause = error.map(|error| format!(": {error}")).unwrap_or_default();
        output::line(format!(
            "relay {name}: {}{}{cause}",
            relay.state,
            super::status::limit(relay)
        ))?;
    }
    Ok(())
}

fn side(which: &str, side: &WhySide) -> Result<(), Failure> {
    let nat = side
        .nat
        .as_ref()
        .map_or_else(|| "NAT not told yet".to_owned(), nat);
    output::line(format!("{which}: {nat}"))?;
    for candidate in side.candidates.iter().take(SHOWN_CANDIDATES) {
        output::line(format!("  {} ({})", candidate.address, candidate.source))?;
    }
    let more = side.candidates.len().saturating_sub(SHOWN_CANDIDATES);
    if more > 0 {
        output::line(format!("  and {more} more, see --json"))?;
    }
    Ok(())
}

fn nat(nat: &NatInfo) -> String {
    let mut parts = vec![match nat.kind.as_str() {
        "none" => "no NAT".to_owned(),
        "symmetric" => "symmetric NAT: a new port for each destination".to_owned(),
        "unknown" => "NAT of an unknown kind".to_owned(),
        kind => format!("{kind} NAT"),
    }];
    match nat.port_preserving {
        Some(true) => parts.push("ports kept".to_owned()),
        Some(false) => parts.push("ports changed".to_owned()),
        None => {}
    }
    if nat.cgnat == Some(true) {
        parts.push("the provider translates once more (CGNAT)".to_owned());
    }
    if nat.udp == "blocked" {
        parts.push("UDP does not get through".to_owned());
    }
    parts.join(", ")
}
