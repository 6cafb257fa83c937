//! The two nodes of `plugin dev`: `laptop` and `home`, paired, on loopback, in a folder that goes with them.

use std::path::{Path, PathBuf};

use peerup_api::{ClientError, EventLines, InviteInfo, JoinOutcome, PluginCall, PluginInfo};
use peerup_daemon::{Daemon, DaemonOptions, Mode};
use peerup_model::{Failure, PluginName};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    command::{failed, init},
    context::Context,
};

/// Both nodes.
pub(super) struct Nodes {
    pub(super) laptop: Node,
    pub(super) home: Node,
    _folder: tempfile::TempDir,
}

/// One of them.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) config: PathBuf,
    pub(super) context: Context,
    pub(super) peer_id: String,
    daemon: Daemon,
}

/// What a node has to say about the plugin.
pub(super) enum Told {
    /// It called the host.
    Call(&'static str, PluginCall),
    /// It wrote a line, or something happened to it.
    Line(&'static str, Value),
}

impl Nodes {
    /// Makes, starts and pairs them.
    pub(super) async fn start(context: &Context) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("peerup-dev-")
            .tempdir()
            .map_err(|error| failed(format!("no folder for two nodes can be made: {error}")))?;
        let home = Node::start(context, folder.path(), "home").await?;
        let laptop = Node::start(context, folder.path(), "laptop").await?;
        let nodes = Self {
            laptop,
            home,
            _folder: folder,
        };
        nodes.pair().await?;
        Ok(nodes)
    }

    async fn pair(&self) -> Result<(), Failure> {
        let invite = json!({ "name": "home", "ttl": "1m" });
        let made: InviteInfo = self.home.post("/v1/invite", &invite).await?;
        let join = json!({ "code": made.code, "name": "laptop" });
        let _: JoinOutcome = self.laptop.post("/v1/join", &join).await?;
        Ok(())
    }

    pub(super) fn both(&self) -> [&Node; 2] {
        [&self.laptop, &self.home]
    }

    pub(super) async fn stop(self) {
        self.laptop.daemon.stop().await;
        self.home.daemon.stop().await;
    }
}

impl Node {
    async fn start(context: &Context, folder: &Path, name: &'static str) -> Result<Self, Failure> {
        let config = folder.join(name).join("config.yaml");
        init::make(&config, Some(name), Some(1), Vec::new())?;
        stay_on_loopback(&config)?;
        let options = DaemonOptions {
            config: config.clone(),
            mode: Mode::Daemon,
            log: peerup_daemon::DaemonLog::default(),
        };
        let daemon = Daemon::start(options).await?;
        Ok(Self {
            name,
            context: context.at(config.clone()),
            config,
            peer_id: daemon.peer_id().to_base58(),
            daemon,
        })
    }

    async fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, Failure> {
        let answer = self.daemon.client().post(path, body).await;
        answer.map_err(ClientError::into_failure)
    }

    /// What the node says of a plugin.
    pub(super) async fn plugin(&self, name: &PluginName) -> Result<PluginInfo, Failure> {
        let info = self.daemon.client().get(&format!("/v1/plugins/{name}")).await;
        info.map_err(ClientError::into_failure)
    }

    /// Hands on what the plugin calls and writes, until the node ends.
    pub(super) async fn follow(&self, name: &PluginName, told: mpsc::Sender<Told>) -> Result<(), Failure> {
        let calls = self
            .lines(&format!("/v1/plugins/{name}/calls?format=both"))
            .await?;
        let logs = self
            .lines(&format!(
                "/v1/plugins/{name}/logs?format=both&lines=0&follow=true"
            ))
            .await?;
        let (node, also) = (self.name, told.clone());
        let call = move |line: Value| {
            let call = line
                .get("json")
                .cloned()
                .and_then(|json| serde_json::from_value(json).ok());
            match call {
                Some(call) => Told::Call(node, call),
                None => Told::Line(node, line),
            }
        };
        tokio::spawn(pass_on(calls, told, call));
        tokio::spawn(pass_on(logs, also, move |line| Told::Line(node, line)));
        Ok(())
    }

    async fn lines(&self, path: &str) -> Result<EventLines, Failure> {
        self.daemon
            .client()
            .get_lines(path)
            .await
            .map_err(ClientError::into_failure)
    }
}

async fn pass_on(mut lines: EventLines, told: mpsc::Sender<Told>, of: impl Fn(Value) -> Told) {
    while let Ok(Some(line)) = lines.next().await {
        if told.send(of(line)).await.is_err() {
            return;
        }
    }
}

/// Lets a node listen on 127.0.0.1 only, on ports that the system chooses, and look for nobody.
fn stay_on_loopback(config: &Path) -> Result<(), Failure> {
    let unusable = |error: std::io::Error| failed(format!("{}: {error}", config.display()));
    let text = std::fs::read_to_string(config).map_err(unusable)?;
    let kept = text
        .lines()
        .filter(|line| !line.contains("/ip6/::/"))
        .map(|line| {
            let line = line.replace("/ip4/0.0.0.0/tcp/1", "/ip4/127.0.0.1/tcp/0");
            line.replace("/ip4/0.0.0.0/udp/1/", "/ip4/127.0.0.1/udp/0/") + "\n"
        });
    let text: String = kept.collect::<String>() + "\ndiscovery: { mdns: false, dht: false }\n";
    std::fs::write(config, text).map_err(unusable)
}
