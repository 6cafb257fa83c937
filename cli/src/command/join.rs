//! `join`: pairs with the machine that made a code; makes config and key where there are none.

use std::{io::Read, path::PathBuf};

use peerup_api::{ClientError, JoinOutcome, JoinRequest};
use peerup_daemon::Mode;
use peerup_model::Failure;

use super::{failed, init, usage};
use crate::{
    arguments::Join,
    context::Context,
    output,
    session::{Session, until_interrupted},
};

/// The longest code that is read from standard input.
const MAX_CODE: u64 = 4096;

pub(crate) async fn run(context: &Context, arguments: Join) -> Result<(), Failure> {
    let code = read_code(context, &arguments)?;
    // A code that cannot be one, or is too old, is refused before anything is made.
    peerup_daemon::read_code(&code)?;
    let path = config(context, &arguments)?;
    let session = Session::attach_or_start(context, path, Mode::Client).await?;
    let request = JoinRequest {
        code,
        name: arguments.name,
    };
    let joined = async {
        let outcome: JoinOutcome = session
            .client
            .post("/v1/join", &request)
            .await
            .map_err(ClientError::into_failure)?;
        Ok(outcome)
    };
    let outcome = until_interrupted(joined).await;
    let outcome = session.finish(outcome).await?;
    if context.json {
        return output::json(&outcome);
    }
    context.note(&format!("paired with {} ({})", outcome.name, outcome.peer_id));
    for relay in &outcome.relays {
        context.note(&format!("uses the relay {relay}"));
    }
    context.note(&format!("next: peerup proxy {} SERVICE", outcome.name));
    Ok(())
}

/// Returns the config's path; makes one where there is none.
fn config(context: &Context, arguments: &Join) -> Result<PathBuf, Failure> {
    let path = match &arguments.dir {
        Some(dir) => init::target(context, Some(dir))?,
        None => match context.config_path() {
            Ok(path) => return Ok(path),
            Err(_) => init::target(context, None)?,
        },
    };
    if path.exists() {
        return Ok(path);
    }
    let made = init::make(&path, arguments.name.as_deref(), None, Vec::new())?;
    context.note(&format!("made {}", made.path.display()));
    Ok(made.path)
}

/// Takes the code from the arguments, the environment (through the arguments), or standard input.
fn read_code(context: &Context, arguments: &Join) -> Result<String, Failure> {
    let given = arguments.code.concat();
    if !given.trim().is_empty() {
        return Ok(given);
    }
    if !arguments.non_interactive && context.may_ask() {
        context.note("paste the invite code, then enter:");
    }
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(std::io::stdin().take(MAX_CODE)),
        &mut line,
    )
    .map_err(|error| failed(format!("standard input cannot be read: {error}")))?;
    if line.trim().is_empty() {
        return Err(usage("no invite code was given")
            .with_hint("give it as an argument, in PEERUP_INVITE_CODE, or on standard input"));
    }
    Ok(line.trim().to_owned())
}
