//! The endpoints that answer at once, each a few lines over the parts that do the work.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use peerup_api::{
    AuthEntry, AuthRequest, DoneInfo, ExposeRequest, InviteRequest, JoinRequest, PathInfo, RelayRequest,
    ResolveAnswer, ResolveRequest, ServiceUpdate,
};
use peerup_config::RelayAddress;
use peerup_lifecycle::Manner;
use peerup_model::{ErrorCode, Failure, PluginName, ServiceName};
use serde::Deserialize;

use super::answer::{Format, JsonBody, Path, Query, Refusal};
use crate::{
    alert_watch,
    app::{App, blocking},
    describe::{self, read_auth_request},
    endpoint::Cookie,
    forward, names, pairing, status, supervisor, trials, why,
};

/// The longest address of a relay: a name of the DNS, a path of a WebSocket and a peer id fit in.
const MAX_ADDRESS: usize = 1024;

pub(super) type Answer = Result<Response, Refusal>;

pub(super) fn done(status: &str) -> DoneInfo {
    DoneInfo {
        status: status.to_owned(),
    }
}

pub(super) fn invalid(error: impl std::fmt::Display) -> Refusal {
    Refusal(Failure::new(ErrorCode::Invalid, error.to_string()))
}

pub(super) async fn status(State(app): State<Arc<App>>, format: Format) -> Answer {
    Ok(format.answer(status::status(&app).await?))
}

pub(super) async fn services(State(app): State<Arc<App>>, format: Format) -> Answer {
    Ok(format.answer(describe::describe_services(&app.config())))
}

pub(super) async fn expose(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<ExposeRequest>,
) -> Answer {
    let name: ServiceName = request.name.parse().map_err(invalid)?;
    peerup_config::check_host_port(&request.local_address).map_err(invalid)?;
    app.edit_config(move |editor| editor.set_service(&name, &request.local_address, true))
        .await?;
    Ok(format.answer(done("exposed")))
}

pub(super) async fn unexpose(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
) -> Answer {
    let name = known_service(&app, &name)?;
    app.edit_config(move |editor| editor.remove_service(&name))
        .await?;
    Ok(format.answer(done("unexposed")))
}

pub(super) async fn switch_service(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
    JsonBody(update): JsonBody<ServiceUpdate>,
) -> Answer {
    let name = known_service(&app, &name)?;
    app.edit_config(move |editor| editor.set_service_enabled(&name, update.enabled))
        .await?;
    Ok(format.answer(done(if update.enabled { "enabled" } else { "disabled" })))
}

fn known_service(app: &App, name: &str) -> Result<ServiceName, Failure> {
    let parsed: ServiceName = name
        .parse()
        .map_err(|error: peerup_model::NameError| Failure::new(ErrorCode::Invalid, error.to_string()))?;
    if app.config().services.contains_key(&parsed) {
        return Ok(parsed);
    }
    Err(
        Failure::new(ErrorCode::NotFound, format!("there is no service {name}"))
            .with_hint("see them with: peerup service list"),
    )
}

pub(super) async fn peers(
    State(app): State<Arc<App>>,
    format: Format,
    Query(query): Query<PeersQuery>,
) -> Answer {
    Ok(format.answer(status::peers(&app, query.all).await?))
}

/// What `GET /v1/peers` takes.
#[derive(Debug, Deserialize)]
pub(super) struct PeersQuery {
    /// Those without a connection too.
    #[serde(default)]
    all: bool,
}

pub(super) async fn why(State(app): State<Arc<App>>, format: Format, Path(peer): Path<String>) -> Answer {
    Ok(format.answer(why::why(&app, &peer).await?))
}

pub(super) async fn alerts(State(app): State<Arc<App>>, format: Format) -> Answer {
    Ok(format.answer(app.alerts.describe()))
}

pub(super) async fn test_alert(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
) -> Answer {
    Ok(format.answer(alert_watch::test(&app, &name).await?))
}

/// Every live connection of every peer.
pub(super) async fn paths(State(app): State<Arc<App>>, format: Format) -> Answer {
    let peers = status::peers(&app, true).await?;
    let paths: Vec<PathInfo> = peers
        .into_iter()
        .flat_map(|peer| {
            let (peer_id, name) = (peer.id, peer.name);
            peer.connections.into_iter().map(move |connection| PathInfo {
                connection,
                peer_id: peer_id.clone(),
                name: name.clone(),
            })
        })
        .collect();
    Ok(format.answer(paths))
}

/// Forgets every waiting time: relays, addresses and hole punching are tried again now.
pub(super) async fn reconnect(State(app): State<Arc<App>>, format: Format) -> Answer {
    app.node.reset_backoffs().await;
    Ok(format.answer(done("every waiting time is forgotten")))
}

pub(super) async fn auth(State(app): State<Arc<App>>, format: Format) -> Answer {
    Ok(format.answer(auth_entries(&app)))
}

fn auth_entries(app: &App) -> Vec<AuthEntry> {
    let config = app.config();
    let entries = app.access.entries();
    entries
        .iter()
        .map(|entry| describe::describe_entry(entry, &config))
        .collect()
}

pub(super) async fn authorize(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<AuthRequest>,
) -> Answer {
    let (entry, name) = read_auth_request(request)?;
    let peer = entry.peer;
    if peer == app.peer_id() {
        return Err(
            Failure::new(ErrorCode::Invalid, "that is this node's own peer id")
                .with_hint("authorize the other machine: there, see its id with: peerup whoami")
                .into(),
        );
    }
    if let Some(name) = &name {
        names::check_chosen(&app.config(), name, &peer)?;
    }
    app.edit_access(move |access| access.add(entry)).await?;
    if let Some(name) = name {
        app.edit_config(move |editor| editor.set_name(&name, peer))
            .await?;
    }
    Ok(format.answer(done("added")))
}

pub(super) async fn deauthorize(
    State(app): State<Arc<App>>,
    format: Format,
    Path(peer): Path<String>,
) -> Answer {
    let (peer, _) = app.resolve_own(&peer)?;
    let removed = app.edit_access(move |access| access.remove(&peer)).await?;
    if removed.is_none() {
        return Err(Failure::new(
            ErrorCode::NotFound,
            format!("{} is not in authorized_keys", app.display(&peer)),
        )
        .with_hint("see who is with: peerup auth list")
        .into());
    }
    Ok(format.answer(done("removed")))
}

pub(super) async fn relays(State(app): State<Arc<App>>, format: Format) -> Answer {
    Ok(format.answer(status::relays(&app).await?))
}

pub(super) async fn add_relay(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<RelayRequest>,
) -> Answer {
    let address = relay_address(&request.address)?;
    app.edit_config(move |editor| editor.add_relay(&address)).await?;
    Ok(format.answer(done("added")))
}

pub(super) async fn remove_relay(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<RelayRequest>,
) -> Answer {
    let address = relay_address(&request.address)?;
    if !app.config().relays.contains(&address) {
        return Err(Failure::new(
            ErrorCode::NotFound,
            format!("{} is not among the relays", request.address),
        )
        .with_hint("see them with: peerup relay list")
        .into());
    }
    app.edit_config(move |editor| editor.remove_relay(&address))
        .await?;
    Ok(format.answer(done("removed")))
}

fn relay_address(text: &str) -> Result<RelayAddress, Refusal> {
    if text.len() > MAX_ADDRESS {
        return Err(invalid(format!(
            "an address has at most {MAX_ADDRESS} characters"
        )));
    }
    text.parse().map_err(invalid)
}

pub(super) async fn resolve(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<ResolveRequest>,
) -> Answer {
    let (peer, source) = app.resolve(&request.name).await?;
    Ok(format.answer(ResolveAnswer {
        name: request.name,
        peer_id: peer.to_base58(),
        source: source.as_str().to_owned(),
    }))
}

pub(super) async fn connections(State(app): State<Arc<App>>, format: Format) -> Answer {
    let mut list = app.keeper().map(|keeper| keeper.list()).unwrap_or_default();
    list.extend(app.proxies.list());
    Ok(format.answer(list))
}

pub(super) async fn disconnect(
    State(app): State<Arc<App>>,
    format: Format,
    Path(id): Path<String>,
) -> Answer {
    if app.proxies.remove(&id) {
        return Ok(format.answer(done("disconnected")));
    }
    if app.config().proxies.contains_key(id.as_str()) {
        let message = format!("{id} is a proxy of the config, which the daemon keeps");
        return Err(Failure::new(ErrorCode::Conflict, message)
            .with_hint(format!("peerup proxy disable {id}, or: peerup proxy remove {id}"))
            .into());
    }
    Err(
        Failure::new(ErrorCode::NotFound, format!("there is no proxy {id}"))
            .with_hint("see them with: peerup proxy list")
            .into(),
    )
}

/// Starts a proxy that lives until it is removed.
pub(super) async fn connect(app: &Arc<App>, request: peerup_api::ConnectRequest, format: Format) -> Answer {
    let started = forward::start(app, request).await?;
    Ok(format.answer(started.info))
}

pub(super) async fn invite(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<InviteRequest>,
) -> Answer {
    Ok(format.answer(pairing::create(&app, request).await?))
}

pub(super) async fn invite_outcome(
    State(app): State<Arc<App>>,
    format: Format,
    Path(id): Path<String>,
) -> Answer {
    tokio::select! {
        biased;
        () = app.shutdown.cancelled() => {
            Err(Failure::new(ErrorCode::Interrupted, "the daemon is ending").into())
        }
        outcome = pairing::outcome(&app, &id) => Ok(format.answer(outcome?)),
    }
}

pub(super) async fn cancel_invite(
    State(app): State<Arc<App>>,
    format: Format,
    Path(id): Path<String>,
) -> Answer {
    pairing::cancel(&app, &id)?;
    Ok(format.answer(done("cancelled")))
}

pub(super) async fn join(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<JoinRequest>,
) -> Answer {
    // Both sides write files in the end: the pairing goes on if the caller loses patience half-way.
    let task_app = app.clone();
    let joined = app
        .tasks
        .spawn(async move { pairing::join(&task_app, request).await });
    let outcome = joined.await.unwrap_or_else(|error| {
        Err(Failure::new(
            ErrorCode::Failed,
            format!("joining ended early: {error}"),
        ))
    })?;
    Ok(format.answer(outcome))
}

pub(super) async fn plugins(State(app): State<Arc<App>>, format: Format) -> Answer {
    let mut plugins = app.plugins.list();
    for plugin in &mut plugins {
        app.trials.add_to(plugin);
    }
    Ok(format.answer(plugins))
}

pub(super) async fn plugin(State(app): State<Arc<App>>, format: Format, Path(name): Path<String>) -> Answer {
    let name = known_plugin(&app, &name)?;
    let views = app.plugins.views();
    let view = views
        .get(&name)
        .ok_or_else(|| supervisor::no_such_plugin(name.as_str()))?;
    let mut plugin = view.describe();
    app.trials.add_to(&mut plugin);
    Ok(format.answer(plugin))
}

/// Writes the switch, and waits until the plugin runs or says why it does not.
pub(super) async fn enable_plugin(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
) -> Answer {
    let name = configured_plugin(&app, &name)?;
    let switched = name.clone();
    app.edit_config(move |editor| editor.set_plugin_enabled(&switched, true))
        .await?;
    // One that the config enabled already may have failed: the operator's word is another chance.
    app.plugins.enable(&name).await?;
    app.plugins.settled(&name).await?;
    Ok(format.answer(done("enabled")))
}

/// Writes the switch; no stream reaches the plugin any more when this answers.
pub(super) async fn disable_plugin(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
    Query(query): Query<DisableQuery>,
) -> Answer {
    let name = configured_plugin(&app, &name)?;
    let switched = name.clone();
    app.edit_config(move |editor| editor.set_plugin_enabled(&switched, false))
        .await?;
    app.plugins.disable(&name, query.manner()).await?;
    Ok(format.answer(done("disabled")))
}

/// Ends every plugin first and writes the switches then: whoever calls this is in a hurry.
pub(super) async fn disable_plugins(
    State(app): State<Arc<App>>,
    format: Format,
    Query(query): Query<DisableQuery>,
) -> Answer {
    app.plugins.disable_all(query.manner()).await;
    app.edit_config(|editor| {
        let names: Vec<PluginName> = editor.config().plugins.keys().cloned().collect();
        names
            .iter()
            .try_for_each(|name| editor.set_plugin_enabled(name, false))
    })
    .await?;
    Ok(format.answer(done("every plugin is disabled")))
}

/// Reads the config again, then loads the plugin afresh. The one that runs goes on where that fails.
pub(super) async fn reload_plugin(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
) -> Answer {
    app.edit_config(|_| Ok(())).await?;
    let name = known_plugin(&app, &name)?;
    let reloaded = app.plugins.reload(&name).await;
    // What is installed may be another, which may wait to be confirmed.
    trials::look(&app).await;
    app.trials.wake();
    reloaded?;
    Ok(format.answer(done("reloaded")))
}

/// Takes an upgrade for good.
pub(super) async fn confirm_plugin(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
) -> Answer {
    trials::confirm(&app, plugin_name(&name)?).await?;
    Ok(format.answer(done("confirmed")))
}

/// What `disable` and `disable-all` take.
#[derive(Debug, Deserialize)]
pub(super) struct DisableQuery {
    /// Cancel what runs, instead of giving it the drain time.
    #[serde(default)]
    now: bool,
}

impl DisableQuery {
    fn manner(&self) -> Manner {
        match self.now {
            true => Manner::Now,
            false => Manner::Drain,
        }
    }
}

/// Reads the name of a plugin that this node runs or could run.
pub(super) fn known_plugin(app: &App, name: &str) -> Result<PluginName, Failure> {
    let parsed = plugin_name(name)?;
    match app.plugins.views().contains_key(&parsed) {
        true => Ok(parsed),
        false => Err(supervisor::no_such_plugin(name)),
    }
}

fn configured_plugin(app: &App, name: &str) -> Result<PluginName, Failure> {
    let parsed = plugin_name(name)?;
    match app.config().plugins.contains_key(&parsed) {
        true => Ok(parsed),
        false => Err(supervisor::no_such_plugin(name)),
    }
}

fn plugin_name(name: &str) -> Result<PluginName, Failure> {
    name.parse()
        .map_err(|error: peerup_model::NameError| Failure::new(ErrorCode::Invalid, error.to_string()))
}

pub(super) async fn reload(State(app): State<Arc<App>>, format: Format) -> Answer {
    app.reload().await?;
    Ok(format.answer(done("reloaded")))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Answer {
    let text = crate::metrics::scrape(&app).await?;
    let kind = (axum::http::header::CONTENT_TYPE, peerup_ops::METRICS_TYPE);
    Ok(([kind], text).into_response())
}

/// The OpenAPI document of this API, which is made of the same types.
pub(super) async fn openapi() -> Json<serde_json::Value> {
    Json(peerup_api::openapi())
}

/// Writes a new cookie. The old one is worth nothing when this answers.
pub(super) async fn rotate_cookie(Extension(cookie): Extension<Option<Cookie>>, format: Format) -> Answer {
    let Some(cookie) = cookie else {
        let message = "this node has no socket, and so no cookie";
        return Err(Failure::new(ErrorCode::Conflict, message).into());
    };
    blocking(move || cookie.rotate()).await?;
    Ok(format.answer(done("rotated")))
}

pub(super) async fn shutdown(State(app): State<Arc<App>>, format: Format) -> Answer {
    let answer = format.answer(done("shutting down"));
    app.shutdown.cancel();
    Ok(answer)
}
