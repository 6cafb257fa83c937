//! A machine that moves to another network, whose DNS servers are others.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Process, poll};
use serde_json::Value;

use super::stage::{SOON, Stage};
use crate::tools;

/// What the relay is called in the DNS of the second network.
const NAME: &str = "relay.lab.example";
/// A DNS server of a network that was left: nobody.
const GONE: &str = "203.0.113.199";
/// The next attempt at a relay comes within half a minute, and a look-up may take ten seconds.
const RESERVED_WITHIN: Duration = Duration::from_secs(60);

/// What a namespace has for `/etc/resolv.conf`. Goes with the case.
struct Resolver(PathBuf);

impl Resolver {
    fn of(namespace: &str) -> Result<Self> {
        let folder = Path::new("/etc/netns").join(namespace);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Writes into the same file, which is mounted where the processes look.
    fn ask(&self, server: &str) -> Result<()> {
        let text = format!("nameserver {server}\noptions timeout:1 attempts:1\n");
        fs::write(self.0.join("resolv.conf"), text).context("cannot write resolv.conf")
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node starts where its relay's name cannot be looked up, and moves to where it can.
pub(super) fn dns(stage: &mut Stage) -> Result<()> {
    let dnsmasq = tools::find("dnsmasq").context("dnsmasq is missing")?;
    let namespace = stage
        .lab
        .a()
        .host
        .namespace()
        .context("home is in no namespace")?;
    let resolver = Resolver::of(namespace)?;
    resolver.ask(GONE)?;
    let server = stage.lab.relay().address().to_owned();
    let mut serve = stage.lab.relay().command(dnsmasq);
    serve.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--log-facility=-",
    ]);
    serve.args(["--bind-interfaces", "--user=root", "--pid-file="]);
    serve.arg(format!("--listen-address={server}"));
    serve.arg(format!("--address=/{NAME}/{server}"));
    let mut serving = Process::spawn("dnsmasq", &mut serve)?;
    serving.wait_for_line("that it serves", SOON, |line| line.contains("started"))?;
    stage.helpers.push(serving);

    stage.create_relay()?;
    stage.create_pair()?;
    stage.start_relays()?;
    let home = stage.home.as_mut().context("no home node")?;
    home.replace(&format!("/ip4/{server}/"), &format!("/dns4/{NAME}/"))?;
    home.start()?;
    let relay = stage.relay.as_ref().context("no relay")?.id()?.to_owned();
    poll("an attempt that failed", RESERVED_WITHIN, || {
        let status = stage.home()?.ask("/v1/status")?;
        let error = status.pointer("/relays/0/last_error").unwrap_or(&Value::Null);
        Ok((!error.is_null()).then_some(()))
    })?;
    stage.note(&format!(
        "{NAME} cannot be looked up: home is up, without a reservation"
    ));

    let moved = Instant::now();
    resolver.ask(&server)?;
    stage.wait_for_reservation(stage.home()?, &relay, RESERVED_WITHIN)?;
    let took = moved.elapsed();
    ensure!(took < RESERVED_WITHIN, "reserved only after {took:?}");
    stage.note(&format!(
        "another DNS server in resolv.conf: reserved {:.1} s later, without a restart",
        took.as_secs_f32()
    ));
    Ok(())
}
