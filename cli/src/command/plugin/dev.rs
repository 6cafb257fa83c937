//! `plugin dev`: two nodes on loopback that run the plugin of a folder; rebuilt and swapped when a file changes, with
//! every call of the host shown.
//!
//! A build that fails, or a version that does not start, leaves the one that runs where it is.

mod nodes;
mod watch;

use std::path::Path;

use peerup_api::PluginCall;
use peerup_model::{ErrorCode, Failure, PluginName};
use peerup_package::{Digest, Manifest};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::{
    nodes::{Node, Nodes, Told},
    watch::Watch,
};
use super::{
    install, pack,
    toolchain::{self, Profile},
    trace,
    trace::paint,
    upgrade,
};
use crate::{
    arguments::{PluginConsent, PluginDev, PluginInstall, PluginUpgrade},
    context::Context,
    output,
    session::interrupted,
};

/// What two followers may have told that was not printed yet.
const WAITING: usize = 256;

pub(super) async fn run(context: &Context, arguments: &PluginDev) -> Result<(), Failure> {
    let work = Work { context, arguments };
    tokio::select! {
        outcome = work.go_on() => outcome,
        // Ending it by hand is how it ends.
        () = interrupted() => Ok(()),
    }
}

struct Work<'a> {
    context: &'a Context,
    arguments: &'a PluginDev,
}

/// What was built.
struct Built {
    manifest: Manifest,
    digest: Digest,
    bytes: usize,
}

impl Work<'_> {
    async fn go_on(&self) -> Result<(), Failure> {
        let mut watch = Watch::start(&self.arguments.dir)?;
        let mut running = self.first(&mut watch).await?;
        let nodes = Nodes::start(self.context).await?;
        let (sender, mut told) = mpsc::channel(WAITING);
        let outcome = self
            .serve(&nodes, &mut running, &mut watch, sender, &mut told)
            .await;
        nodes.stop().await;
        outcome
    }

    async fn serve(
        &self,
        nodes: &Nodes,
        running: &mut Built,
        watch: &mut Watch,
        sender: mpsc::Sender<Told>,
        told: &mut mpsc::Receiver<Told>,
    ) -> Result<(), Failure> {
        let name = running.manifest.name.clone();
        for node in nodes.both() {
            install::run(&node.context, &self.installation()).await?;
            node.follow(&name, sender.clone()).await?;
            self.state(node, &name).await?;
        }
        self.welcome(nodes, &running.manifest)?;
        loop {
            tokio::select! {
                told = told.recv() => match told {
                    Some(told) => self.tell(&told)?,
                    None => return Ok(()),
                },
                () = watch.changed() => self.again(nodes, running).await?,
            }
        }
    }

    /// Builds until it goes well: without a first version there is nothing to run.
    async fn first(&self, watch: &mut Watch) -> Result<Built, Failure> {
        loop {
            match self.build().await {
                Ok(built) => return Ok(built),
                Err(failure) => self.complain(&failure, "waiting for a change")?,
            }
            watch.changed().await;
        }
    }

    async fn build(&self) -> Result<Built, Failure> {
        let start = std::time::Instant::now();
        toolchain::build(&self.arguments.dir, Profile::Release).await?;
        let package = pack::pack_folder(&self.arguments.dir, None)?;
        let built = Built {
            manifest: package.manifest().clone(),
            digest: package.digest(),
            bytes: package.bytes().len(),
        };
        let (name, version) = (&built.manifest.name, &built.manifest.version);
        let seconds = start.elapsed().as_secs_f32();
        self.event(
            json!({ "event": "built", "name": name, "version": version, "bytes": built.bytes, "digest": built.digest }),
            &format!("built   {name} {version}, {} in {seconds:.1} s", output::bytes(built.bytes as u64)),
        )?;
        Ok(built)
    }

    /// Builds again and swaps where something came of it.
    async fn again(&self, nodes: &Nodes, running: &mut Built) -> Result<(), Failure> {
        let built = match self.build().await {
            Ok(built) => built,
            Err(failure) => return self.complain(&failure, "the version before goes on"),
        };
        if built.manifest.name != running.manifest.name {
            let failure = Failure::new(ErrorCode::Invalid, "the plugin has another name now")
                .with_hint("end this with Ctrl-C and start it again");
            return self.complain(&failure, "the version before goes on");
        }
        if built.digest == running.digest {
            return self.event(json!({ "event": "unchanged" }), "        nothing changed in it");
        }
        let name = built.manifest.name.clone();
        for node in nodes.both() {
            match upgrade::run(&node.context, &self.upgrade(&name)).await {
                Ok(()) => self.state(node, &name).await?,
                Err(failure) => self.complain(&failure, "the version before goes on")?,
            }
        }
        *running = built;
        Ok(())
    }

    fn source(&self) -> String {
        self.arguments.dir.display().to_string()
    }

    fn consent(&self) -> PluginConsent {
        PluginConsent {
            grants: self.arguments.grants.clone(),
            yes_as_declared: self.arguments.grants.is_empty(),
        }
    }

    fn installation(&self) -> PluginInstall {
        PluginInstall {
            source: self.source(),
            consent: self.consent(),
            no_enable: false,
        }
    }

    fn upgrade(&self, name: &PluginName) -> PluginUpgrade {
        PluginUpgrade {
            name: name.to_string(),
            source: Some(self.source()),
            consent: self.consent(),
            confirm_timeout: None,
            confirm_if: Vec::new(),
            no_wait: false,
        }
    }

    /// Says whether the version that was just handed over runs.
    async fn state(&self, node: &Node, name: &PluginName) -> Result<(), Failure> {
        let info = node.plugin(name).await?;
        let why = info
            .reason
            .clone()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let line = format!("{:<7} {name} {} is {}{why}", node.name, info.version, info.state);
        let line = match info.reason.is_some() {
            true => paint(self.context, "31", &line),
            false => line,
        };
        self.event(
            json!({ "event": "state", "node": node.name, "version": info.version, "state": info.state, "reason": info.reason }),
            &line,
        )
    }

    fn welcome(&self, nodes: &Nodes, manifest: &Manifest) -> Result<(), Failure> {
        for node in nodes.both() {
            let config = node.config.display().to_string();
            self.event(
                json!({ "event": "ready", "node": node.name, "config": config, "peer_id": node.peer_id }),
                &format!(
                    "{:<7} is {}; its commands take --config {config}",
                    node.name, node.peer_id
                ),
            )?;
        }
        for command in &manifest.commands {
            let usage = format!(
                "try     peerup --config {} {} ...    ({})",
                nodes.laptop.config.display(),
                command.name,
                command.summary
            );
            self.context.note(&usage);
        }
        self.context
            .note("waiting for changes; Ctrl-C ends both nodes and removes what they have made");
        Ok(())
    }

    fn tell(&self, told: &Told) -> Result<(), Failure> {
        match told {
            Told::Call(node, call) => self.call(node, call),
            Told::Line(node, line) => {
                let text = line.get("text").and_then(Value::as_str).unwrap_or_default();
                self.event(
                    json!({ "event": "log", "node": node, "line": line.get("json") }),
                    &format!("{node:<7} {text}"),
                )
            }
        }
    }

    fn call(&self, node: &str, call: &PluginCall) -> Result<(), Failure> {
        self.event(
            json!({ "event": "call", "node": node, "call": call }),
            &format!("{node:<7} {}", trace::text(self.context, call)),
        )
    }

    fn complain(&self, failure: &Failure, meanwhile: &str) -> Result<(), Failure> {
        let hint = failure
            .hint
            .as_ref()
            .map(|hint| format!("\n  next: {hint}"))
            .unwrap_or_default();
        let line = paint(
            self.context,
            "31",
            &format!("kept    {}; {meanwhile}{hint}", failure.message),
        );
        self.event(
            json!({ "event": "kept", "reason": failure.message, "hint": failure.hint }),
            &line,
        )
    }

    fn event(&self, json: Value, text: &str) -> Result<(), Failure> {
        match self.context.json {
            true => output::json(&json),
            false => output::line(text),
        }
    }
}

/// The folder as a whole path: the nodes read it from elsewhere.
pub(super) fn whole(folder: &Path) -> std::path::PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
