//! `cargo xtask demo`: the whole thing on loopback, without root, each step with what it proves.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Host, Process, interrupted, poll};

use crate::{
    binaries::{Binaries, Profile},
    nodes::{Node, Relay, free_port},
    web::{WebServer, fetch, title},
};

/// Lines of each log that are shown when a step fails.
const TAIL: usize = 25;
/// Nobody leaves it running longer than this.
const STAY: Duration = Duration::from_secs(30 * 24 * 3600);
/// The name of the inviting node, and what the other one calls it.
const HOME: &str = "home";
/// The name of the joining node.
const LAPTOP: &str = "laptop";

/// The arguments of `demo`.
#[derive(clap::Args, Default)]
pub(crate) struct DemoArguments {
    /// Leaves it running with the address to open in a browser
    #[arg(long)]
    stay: bool,
    /// Takes the binaries from this folder, without building
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

impl DemoArguments {
    /// Once through, with binaries that are there.
    pub(crate) fn built(folder: &Path) -> Self {
        Self {
            stay: false,
            binaries: Some(folder.to_owned()),
        }
    }
}

/// Runs the demo and cleans up.
///
/// # Errors
/// The step that failed, after the ends of the logs were printed.
pub(crate) fn run(arguments: &DemoArguments) -> Result<()> {
    let start = Instant::now();
    println!("building peerup and relay-server");
    let binaries = Binaries::obtain(Profile::Dev, arguments.binaries.as_deref())?;
    let built = start.elapsed();
    let folder = tempfile::Builder::new().prefix("peerup-demo-").tempdir()?;
    let mut demo = Demo::default();
    let outcome = demo.play(&binaries, folder.path(), arguments.stay);
    if outcome.is_err() && !interrupted() {
        demo.print_tails();
    }
    demo.stop();
    outcome?;
    println!(
        "\nThe demo took {:.1} s after {:.1} s of building. Everything it started is ended, its folder removed.",
        (start.elapsed() - built).as_secs_f32(),
        built.as_secs_f32()
    );
    Ok(())
}

#[derive(Default)]
struct Demo {
    number: u32,
    relay: Option<Relay>,
    home: Option<Node>,
    laptop: Option<Node>,
    proxy: Option<Process>,
}

impl Demo {
    fn play(&mut self, binaries: &Binaries, folder: &Path, stay: bool) -> Result<()> {
        self.start_relay(binaries, folder)?;
        let web = self.start_home(binaries, folder)?;
        self.pair(binaries, folder)?;
        let address = self.open_tunnel(&web)?;
        self.look_around()?;
        if stay {
            println!("\nOpen http://{address}/ in a browser. Ctrl-C ends everything.");
            let _ = poll("Ctrl-C", STAY, || Ok(None::<()>));
        }
        Ok(())
    }

    fn start_relay(&mut self, binaries: &Binaries, folder: &Path) -> Result<()> {
        self.step(
            "relay-server init && relay-server serve",
            "a relay of one's own: it forwards ciphertext, and only for peers that it was told of",
        );
        let folder = folder.join("relay");
        let mut relay = Relay::init(binaries, &Host::local(), &folder, free_port()?)?;
        relay.start()?;
        detail(&relay.address);
        self.relay = Some(relay);
        Ok(())
    }

    fn start_home(&mut self, binaries: &Binaries, folder: &Path) -> Result<WebServer> {
        self.step(
            &format!("peerup init --name {HOME} --relay ...; relay-server authorize ID; peerup daemon"),
            "a node with its own key; the relay's operator lets it in, live; it holds a reservation there",
        );
        let relay = self.relay.as_ref().context("no relay")?;
        let mut home = Node::init(binaries, &Host::local(), &folder.join(HOME), HOME, relay)?;
        let id = home.id()?;
        relay.run(&["authorize", &id, "--comment", HOME])?;
        home.start()?;
        detail(&format!("{HOME} is {id}"));

        let web = WebServer::start()?;
        self.step(
            &format!("peerup service add web {}", web.address),
            "a service goes live in the running daemon; this line is also the plugin's grant to dial that address",
        );
        home.run(&["service", "add", "web", &web.address.to_string()])?;
        detail(home.run(&["service", "list"])?.trim_end());
        self.home = Some(home);
        Ok(web)
    }

    fn pair(&mut self, binaries: &Binaries, folder: &Path) -> Result<()> {
        self.step(
            "peerup invite   (on home)",
            "one code holds all that the other side needs; no gate opens, it names a one-time identity",
        );
        let home = self.home.as_ref().context("no home node")?;
        let (mut invite, code) = home.invite(&[])?;
        detail(&code);

        self.step(
            "peerup join CODE; peerup daemon   (on laptop)",
            "a fresh machine has a key, a config, a relay that admits it, and a peer it knows by name and key",
        );
        let local = Host::local();
        let mut laptop = Node::blank(binaries, &local, &folder.join(LAPTOP), LAPTOP)?;
        let joined = laptop.join(&code)?;
        let told = format!("{}{}", joined.stdout, joined.stderr);
        joined
            .success()
            .with_context(|| format!("join; the inviter says\n{}", invite.tail(TAIL)))?;
        detail(told.trim_end());
        invite
            .finish(Duration::from_secs(30))?
            .success()
            .context("invite")?;
        laptop.start()?;
        self.laptop = Some(laptop);
        Ok(())
    }

    fn open_tunnel(&mut self, web: &WebServer) -> Result<String> {
        self.step(
            &format!("peerup proxy {HOME} web"),
            "a plugin listens on the laptop, on an address that it was granted",
        );
        let laptop = self.laptop.as_ref().context("no laptop node")?;
        let (proxy, address) = laptop.proxy(HOME, "web")?;
        detail(&format!("listening on {address}"));
        self.proxy = Some(proxy);

        self.step(
            &format!("GET http://{address}/"),
            "the page travels: tcp-proxy in a sandbox on both sides, encrypted between them",
        );
        let page = fetch(&address)?;
        let direct = fetch(&web.address.to_string())?;
        ensure!(page == direct, "the page is not the one that the server gave");
        detail(&format!(
            "{:?}, {} bytes, the same as without the tunnel",
            title(&page),
            page.len()
        ));
        Ok(address)
    }

    fn look_around(&mut self) -> Result<()> {
        self.step(
            &format!("peerup ping {HOME} -c 3"),
            "the ping plugin at both ends; the path is named",
        );
        let laptop = self.laptop.as_ref().context("no laptop node")?;
        detail(laptop.run(&["ping", HOME, "-c", "3"])?.trim_end());

        self.step(
            "peerup plugin list   (on home, then on laptop)",
            "no instance is alive on home: each served one stream and ended. The laptop's open proxy is one",
        );
        for node in [&self.home, &self.laptop].into_iter().flatten() {
            detail(node.run(&["plugin", "list"])?.trim_end());
        }

        self.step(
            "peerup status   (on laptop)",
            "who it is, where it can be reached, how the relay stands",
        );
        let laptop = self.laptop.as_ref().context("no laptop node")?;
        detail(laptop.run(&["status"])?.trim_end());
        Ok(())
    }

    fn step(&mut self, command: &str, proves: &str) {
        self.number += 1;
        println!("\n{:>2}. $ {command}\n      {proves}", self.number);
    }

    fn print_tails(&self) {
        println!("\n--- the ends of the logs");
        let nodes = [&self.home, &self.laptop].into_iter().flatten();
        let relay = self.relay.as_ref().and_then(Relay::process);
        for process in nodes.filter_map(Node::daemon).chain(relay).chain(&self.proxy) {
            print!("{}", process.tail(TAIL));
        }
    }

    /// Ends everything in the order in which a person would; what hangs is killed.
    fn stop(&mut self) {
        self.proxy = None;
        for node in [self.laptop.take(), self.home.take()].into_iter().flatten() {
            drop(node);
        }
        self.relay = None;
    }
}

fn detail(text: &str) {
    for line in text.lines() {
        println!("      | {line}");
    }
}
