//! The proxies that the daemon keeps: what changes them, in the config and at once.

use std::sync::Arc;

use axum::extract::State;
use peerup_api::{ProxyRequest, ProxyUpdate};
use peerup_config::ProxyEntry;
use peerup_model::{ErrorCode, Failure, NameError, ProxyName};

use super::{
    answer::{Format, JsonBody, Path},
    routes::{Answer, done, invalid},
};
use crate::app::App;

/// Writes a proxy into the config; answers with it once it listens, or says why it does not.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<ProxyRequest>,
) -> Answer {
    let name: ProxyName = request.name.parse().map_err(invalid)?;
    let entry = ProxyEntry::new(&request.peer, &request.service, &request.listen)
        .map_err(|(_, error)| invalid(error))?;
    let added = name.clone();
    app.edit_config(move |editor| editor.add_proxy(&added, &entry))
        .await?;
    told(&app, &name, format).await
}

/// Switches a proxy on or off.
pub(super) async fn switch(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
    JsonBody(update): JsonBody<ProxyUpdate>,
) -> Answer {
    let name = known(&app, &name)?;
    let switched = name.clone();
    app.edit_config(move |editor| editor.set_proxy_enabled(&switched, update.enabled))
        .await?;
    told(&app, &name, format).await
}

/// Takes a proxy out; its tunnels end.
pub(super) async fn remove(State(app): State<Arc<App>>, format: Format, Path(name): Path<String>) -> Answer {
    let name = known(&app, &name)?;
    app.edit_config(move |editor| editor.remove_proxy(&name)).await?;
    Ok(format.answer(done("removed")))
}

async fn told(app: &App, name: &ProxyName, format: Format) -> Answer {
    let settled = match app.keeper() {
        Some(keeper) => keeper.settled(name).await,
        None => None,
    };
    match settled {
        Some(info) => Ok(format.answer(info)),
        None => Err(no_such(name.as_str()).into()),
    }
}

fn known(app: &App, name: &str) -> Result<ProxyName, Failure> {
    let parsed: ProxyName = name
        .parse()
        .map_err(|error: NameError| Failure::new(ErrorCode::Invalid, error.to_string()))?;
    match app.config().proxies.contains_key(&parsed) {
        true => Ok(parsed),
        false => Err(no_such(name)),
    }
}

fn no_such(name: &str) -> Failure {
    Failure::new(ErrorCode::NotFound, format!("there is no proxy {name}"))
        .with_hint("see them with: peerup proxy list")
}
