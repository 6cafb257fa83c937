//! `alerts`: how the rules of the config stand in the running daemon, and a test of where their messages go.

use peerup_api::{AlertInfo, AlertTestResult, ClientError, whole_seconds};
use peerup_model::{ErrorCode, Failure};
use serde_json::json;

use crate::{arguments::Alerts, context::Context, output, session::Session};

pub(crate) async fn run(context: &Context, command: Alerts) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    match command {
        Alerts::List => list(context, &session).await,
        Alerts::Test { name } => test(context, &session, &name).await,
    }
}

async fn list(context: &Context, session: &Session) -> Result<(), Failure> {
    let alerts: Vec<AlertInfo> = session
        .client
        .get("/v1/alerts")
        .await
        .map_err(ClientError::into_failure)?;
    if context.json {
        return output::json(&alerts);
    }
    if alerts.is_empty() {
        context.note("the config has no rules; they stand under alerts.rules");
        return Ok(());
    }
    let rows: Vec<[String; 6]> = alerts.iter().map(row).collect();
    output::table(["RULE", "WHEN", "STATE", "SINCE", "TARGETS", "MESSAGE"], &rows)?;
    for alert in &alerts {
        if let Some(next_step) = &alert.next_step {
            context.note(&format!("{}: {next_step}", alert.rule));
        }
        for target in &alert.targets {
            if let Some(error) = &target.last_error {
                context.note(&format!("the target {}: {error}", target.target));
            }
        }
    }
    Ok(())
}

fn row(alert: &AlertInfo) -> [String; 6] {
    let targets: Vec<&str> = alert
        .targets
        .iter()
        .map(|target| target.target.as_str())
        .collect();
    [
        alert.rule.clone(),
        alert.when.clone(),
        alert.state.clone(),
        output::or_dash(alert.since.as_deref().map(whole_seconds)),
        output::or_dash(Some(targets.join(",")).filter(|targets| !targets.is_empty())),
        output::or_dash(alert.message.as_ref()),
    ]
}

/// Ends with the code of an unmet check where one target was not reached.
async fn test(context: &Context, session: &Session, name: &str) -> Result<(), Failure> {
    let results: Vec<AlertTestResult> = session
        .client
        .post(&format!("/v1/alerts/{name}/test"), &json!({}))
        .await
        .map_err(ClientError::into_failure)?;
    if context.json {
        output::json(&results)?;
    } else {
        for result in &results {
            let word = if result.delivered {
                "delivered"
            } else {
                "not delivered"
            };
            output::line(format!(
                "{} ({}): {word}: {}",
                result.target, result.goes_to, result.answer
            ))?;
        }
    }
    let missed: Vec<&str> = results
        .iter()
        .filter(|result| !result.delivered)
        .map(|result| result.target.as_str())
        .collect();
    if missed.is_empty() {
        return Ok(());
    }
    let message = format!("the test did not reach {}", missed.join(", "));
    Err(Failure::new(ErrorCode::CheckFailed, message)
        .with_hint("what came back stands above; the targets are under alerts.targets in the config"))
}
