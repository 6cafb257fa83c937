//! `plugin trace`: what a plugin asks of the host, as it asks.

use peerup_api::{ClientError, EventLines, PluginCall};
use peerup_model::{ErrorCode, Failure, PluginName};

use crate::{
    context::Context,
    output,
    session::{Session, until_interrupted},
};

/// The calls of one plugin, as they come.
pub(super) async fn follow(session: &Session, name: &PluginName) -> Result<EventLines, Failure> {
    let path = format!("/v1/plugins/{name}/calls?format=both");
    session
        .client
        .get_lines(&path)
        .await
        .map_err(ClientError::into_failure)
}

pub(super) async fn run(context: &Context, name: &PluginName, denied: bool) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let shown = until_interrupted(async {
        let mut lines = follow(&session, name).await?;
        while let Some(line) = lines.next().await.map_err(ClientError::into_failure)? {
            let Some(json) = line.get("json") else { continue };
            let call: Option<PluginCall> = serde_json::from_value(json.clone()).ok();
            match call {
                Some(call) if denied && !call.denied => {}
                Some(call) if context.json => output::json(&call)?,
                Some(call) => output::line(text(context, &call))?,
                // That some were left out.
                None => super::super::print_event(context, &line)?,
            }
        }
        Ok(())
    })
    .await;
    match shown {
        // Ending it by hand is how following ends.
        Err(failure) if failure.code == ErrorCode::Interrupted => Ok(()),
        other => other,
    }
}

/// A call on one line: a denial in red with what would grant it, another error in yellow.
pub(super) fn text(context: &Context, call: &PluginCall) -> String {
    let time = call
        .time
        .split_once('T')
        .map_or(call.time.as_str(), |(_, time)| time);
    let time = time.get(..12).unwrap_or(time);
    let PluginCall {
        run, call: name, on, ..
    } = call;
    let outcome = match &call.error {
        None => String::new(),
        Some(error) if call.denied => paint(context, "31", &format!(" DENIED: {error}")),
        Some(error) => paint(context, "33", &format!(" failed: {error}")),
    };
    format!("{time} {run:<8} {name} {on}{outcome}")
}

/// Gives a text a colour, where standard output has colours.
pub(super) fn paint(context: &Context, colour: &str, text: &str) -> String {
    match context.paint {
        true => format!("\x1b[{colour}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}
