//! Starts proxies: a `forward` command of the tcp-proxy plugin each, with what it may do narrowed to the very
//! address, peer and service that the operator asked for.

use std::sync::atomic::Ordering;

use libp2p_identity::PeerId;
use peerup_api::{ConnectInfo, ConnectRequest};
use peerup_config::PathQuery;
use peerup_engine::{CommandEvent, CommandRun, TunnelGroup};
use peerup_model::{ErrorCode, Failure, Grants, PathPolicy, ServiceName, TcpGrants, service_protocol};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{app::App, network::open_failure, path_rules, proxies::Proxy, supervisor::Lease};

/// Proxies that one daemon runs at once.
const MAX_PROXIES: usize = 256;
/// Events of a proxy that wait for whoever follows it; older ones are dropped.
const EVENTS_KEPT: usize = 64;
/// The plugin and the command that forward.
const PLUGIN: &str = "tcp-proxy";
const COMMAND: &str = "forward";

/// A proxy that was just started.
#[derive(Debug)]
pub(crate) struct Started {
    /// What the API tells of it.
    pub(crate) info: ConnectInfo,
    /// Its further events. Reading them is optional.
    pub(crate) events: mpsc::Receiver<CommandEvent>,
    /// Cancelled once the proxy has ended.
    pub(crate) ended: CancellationToken,
}

/// Connects to the peer, then starts a proxy and waits until it listens.
pub(crate) async fn start(app: &std::sync::Arc<App>, request: ConnectRequest) -> Result<Started, Failure> {
    let service: ServiceName = request
        .service
        .parse()
        .map_err(|error: peerup_model::NameError| Failure::new(ErrorCode::Invalid, error.to_string()))?;
    // Checked before anybody is asked or reached.
    check_listen(&request.listen)?;
    let (peer, _) = app.resolve(&request.peer).await?;
    if app.proxies.lock().len() >= MAX_PROXIES {
        return Err(Failure::new(
            ErrorCode::Conflict,
            format!("{MAX_PROXIES} proxies are running already"),
        )
        .with_hint("end one with: peerup daemon disconnect ID"));
    }
    let lease = app.plugins.require(PLUGIN)?;
    let protocol = service_protocol(&service);
    let query = PathQuery {
        peer: &peer,
        service: Some(&service),
        plugin: Some(lease.plugin().name()),
        asked: PathPolicy::PreferDirect,
    };
    reach(app, &protocol, &query).await?;
    let order = Order::new(&peer, &service, request.listen)?;
    let listening = order.listen(lease).await?;
    let number = app.proxies.next.fetch_add(1, Ordering::Relaxed) + 1;
    let info = ConnectInfo {
        id: format!("proxy-{number}"),
        name: None,
        peer: request.peer,
        peer_id: Some(peer.to_base58()),
        service: service.to_string(),
        listen_address: listening.address.clone(),
        state: "listening".to_owned(),
        reason: None,
        retry_in_s: None,
    };
    let end = app.shutdown.child_token();
    app.proxies.lock().insert(
        number,
        Proxy {
            info: info.clone(),
            end: end.clone(),
        },
    );
    let (sender, events) = mpsc::channel(EVENTS_KEPT);
    let ended = CancellationToken::new();
    let (task_app, task_ended) = (app.clone(), ended.clone());
    app.tasks.spawn(async move {
        keep(&task_app, order, listening, &sender, &end).await;
        task_app.proxies.lock().remove(&number);
        task_ended.cancel();
    });
    Ok(Started { info, events, ended })
}

/// What a proxy was asked to do.
#[derive(Debug)]
pub(crate) struct Order {
    peer: String,
    service: String,
    listen: String,
    /// How many seconds a client is held while the peer cannot be reached.
    wait: u32,
    extra_grants: Grants,
}

/// A command that listens, in the generation of the plugin that it runs in.
#[derive(Debug)]
pub(crate) struct Listening {
    lease: Lease,
    run: CommandRun,
    /// The address bound.
    pub(crate) address: String,
}

fn check_listen(listen: &str) -> Result<peerup_model::AddressPattern, Failure> {
    listen.parse().map_err(|_| {
        Failure::new(
            ErrorCode::Invalid,
            format!("{listen:?} is not an address to listen on"),
        )
        .with_hint("give address:port, such as 127.0.0.1:8080, with port 0 for a free one")
    })
}

impl Order {
    /// An order with the rights that it needs and no others.
    pub(crate) fn new(peer: &PeerId, service: &ServiceName, listen: String) -> Result<Self, Failure> {
        let protocol = service_protocol(service)
            .parse()
            .map_err(|error: peerup_model::GrantError| Failure::new(ErrorCode::Invalid, error.to_string()))?;
        let extra_grants = Grants {
            protocols: vec![protocol],
            tcp: TcpGrants {
                connect: Vec::new(),
                listen: vec![check_listen(&listen)?],
            },
            ..Grants::default()
        };
        Ok(Self {
            peer: peer.to_base58(),
            service: service.to_string(),
            listen,
            wait: 0,
            extra_grants,
        })
    }

    /// Holds clients for so many seconds while the peer cannot be reached.
    pub(crate) fn holding(self, wait: u32) -> Self {
        Self { wait, ..self }
    }

    /// Listens in the generation of the plugin that runs now.
    pub(crate) async fn begin(&self, app: &App) -> Result<Listening, Failure> {
        self.listen(app.plugins.require(PLUGIN)?).await
    }

    /// Starts the command and waits until it listens.
    async fn listen(&self, lease: Lease) -> Result<Listening, Failure> {
        let arguments = serde_json::json!({
            "peer": self.peer, "service": self.service, "listen": self.listen, "wait": self.wait,
        });
        let mut run = lease
            .plugin()
            .run_command(COMMAND, arguments, self.extra_grants.clone())
            .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
        match first_address(&mut run).await {
            Some(address) => Ok(Listening { lease, run, address }),
            None => Err(match run.finish().await {
                Err(error) => listen_failure(&error),
                Ok(()) => Failure::new(ErrorCode::Failed, "the proxy ended before it listened"),
            }),
        }
    }
}

/// Keeps a proxy until it ends or is told to. Where another generation takes the plugin's place the proxy goes over to
/// it, on the same address; its tunnels run on meanwhile.
pub(crate) async fn keep(
    app: &App,
    mut order: Order,
    mut listening: Listening,
    events: &mpsc::Sender<CommandEvent>,
    end: &CancellationToken,
) {
    order.listen.clone_from(&listening.address);
    let mut left_behind: Vec<TunnelGroup> = Vec::new();
    while follow(app, &mut listening, events, end).await {
        let Listening { lease, mut run, .. } = listening;
        run.detach_tunnels();
        run.cancel();
        // Its listener is gone once it has ended.
        let _ = run.finish().await;
        left_behind.retain(|group| group.live() > 0);
        left_behind.push(run.tunnels());
        drop((run, lease));
        let next = match app.plugins.require(PLUGIN) {
            Ok(lease) => order.listen(lease).await,
            Err(failure) => Err(failure),
        };
        listening = match next {
            Ok(next) => next,
            Err(failure) => {
                tracing::error!(plugin = PLUGIN, %failure, listen = order.listen, "a proxy ended");
                return;
            }
        };
    }
    if !app.shutdown.is_cancelled() {
        left_behind.iter().for_each(TunnelGroup::close);
    }
}

async fn reach(app: &App, protocol: &str, query: &PathQuery<'_>) -> Result<(), Failure> {
    let peer = *query.peer;
    if app
        .access
        .policy()
        .load()
        .role(&peer, jiff::Timestamp::now())
        .is_none()
    {
        return Err(Failure::new(
            ErrorCode::Denied,
            format!("{} is not in authorized_keys", app.display(&peer)),
        )
        .with_hint(format!("peerup auth add {peer}, or pair with: peerup invite")));
    }
    let decision = path_rules::decide(&app.config(), query)?;
    app.node
        .connect_over(peer, decision.policy)
        .await
        .map_err(|error| {
            let failure = open_failure(app, &peer, protocol, &error);
            path_rules::blame(failure, decision.rule.as_ref())
        })
}

/// Waits for the command to say where it listens; none if it ends before.
async fn first_address(run: &mut CommandRun) -> Option<String> {
    while let Some(event) = run.next_event().await {
        let value = &event.json;
        if value.get("event").and_then(|event| event.as_str()) == Some("listening") {
            return value
                .get("address")
                .and_then(|address| address.as_str())
                .map(str::to_owned);
        }
    }
    None
}

/// Passes the command's events on until it ends or is told to. Returns whether it is to go on in another generation.
async fn follow(
    app: &App,
    listening: &mut Listening,
    events: &mpsc::Sender<CommandEvent>,
    end: &CancellationToken,
) -> bool {
    let Listening { lease, run, .. } = listening;
    loop {
        let event = tokio::select! {
            biased;
            () = end.cancelled() => {
                run.cancel();
                if app.shutdown.is_cancelled() {
                    // Nothing new, but what runs has the engine's time to drain.
                    run.detach_tunnels();
                }
                return false;
            }
            () = lease.closed() => return true,
            event = run.next_event() => event,
        };
        let Some(event) = event else { break };
        tracing::info!(plugin = PLUGIN, "{}", event.text);
        // Nobody need follow a proxy: a full queue or a gone reader loses the event, not the proxy.
        let _ = events.try_send(event);
    }
    if let Err(error) = run.finish().await {
        tracing::error!(plugin = PLUGIN, %error, "a proxy ended");
        app.plugins.note(lease, &error);
    }
    false
}

/// The peer was reached before, so what fails now is the listening.
fn listen_failure(error: &peerup_engine::PluginError) -> Failure {
    let failure = crate::plugin_failure(error);
    match failure.code {
        ErrorCode::Unreachable => {
            let hint = match failure.message.contains("none of this machine's") {
                true => "give one of this machine's: ip address",
                false => "see who has it with: ss -lntp",
            };
            Failure::new(ErrorCode::Conflict, failure.message).with_hint(hint)
        }
        _ => failure,
    }
}
