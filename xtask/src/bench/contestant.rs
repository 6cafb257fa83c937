//! What is measured: nothing at all, a plain copy loop, a peerup tunnel, rathole. Each is an address for
//! iperf3 and one for the echo server, and the processes whose time and memory count.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use peerup_testkit::{Host, Process, poll, run};

use crate::{
    binaries::Binaries,
    nodes::{Node, Relay, free_port},
    tools,
};

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Until the two nodes have left the relay.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The copy loop's buffer, the size that proxies commonly use.
const BUFFER: usize = 64 << 10;

/// The ports behind every contestant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Targets {
    /// Where iperf3 serves.
    pub(super) iperf: u16,
    /// Where the echo server is.
    pub(super) echo: u16,
}

/// One way from a client to the targets.
pub(super) struct Contestant {
    /// Its row in the table.
    pub(super) name: String,
    /// Its iperf3 entrance.
    pub(super) iperf: String,
    /// Its echo entrance.
    pub(super) echo: String,
    /// What it consists of: a label and a process id each.
    pub(super) parts: Vec<(String, u32)>,
    processes: Vec<Process>,
    nodes: Vec<Node>,
    _relay: Option<Relay>,
}

impl Contestant {
    fn new(name: &str, iperf: String, echo: String) -> Self {
        Self {
            name: name.to_owned(),
            iperf,
            echo,
            parts: Vec::new(),
            processes: Vec::new(),
            nodes: Vec::new(),
            _relay: None,
        }
    }

    /// Returns its process ids.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.parts.iter().map(|(_, pid)| *pid).collect()
    }

    /// Returns the ends of its logs.
    pub(super) fn logs(&self) -> String {
        let daemons = self.nodes.iter().filter_map(Node::daemon);
        let tails: String = self
            .processes
            .iter()
            .chain(daemons)
            .map(|process| process.tail(15))
            .collect();
        format!("{}\n{tails}", self.name)
    }

    /// Client and server without anything between them.
    pub(super) fn nothing_between(targets: Targets) -> Self {
        let at = |port: u16| format!("127.0.0.1:{port}");
        Self::new("nothing between", at(targets.iperf), at(targets.echo))
    }

    /// A process that copies bytes and does nothing else.
    pub(super) fn copy_loop(targets: Targets) -> Result<Self> {
        let mut contestant = Self::new("plain copy loop", String::new(), String::new());
        contestant.iperf = contestant.add_copy_loop(targets.iperf)?;
        contestant.echo = contestant.add_copy_loop(targets.echo)?;
        Ok(contestant)
    }

    fn add_copy_loop(&mut self, port: u16) -> Result<String> {
        let own = std::env::current_exe()?;
        let mut command = Command::new(own);
        command.args(["copy-loop", &format!("127.0.0.1:{port}")]);
        let mut process = Process::spawn("copy loop", &mut command)?;
        let line = process.wait_for_line("its address", START_TIMEOUT, |line| {
            line.contains("listening on ")
        })?;
        let (_, address) = line.split_once("listening on ").context("no address")?;
        self.parts.push(("copy loop".to_owned(), process.id()));
        self.processes.push(process);
        Ok(address.to_owned())
    }

    /// Two daemons, paired, with a direct connection; the relay is not part of what is measured.
    pub(super) fn peerup(binaries: &Binaries, folder: &Path, targets: Targets) -> Result<Self> {
        let host = Host::local();
        let mut relay = Relay::init(binaries, &host, &folder.join("relay"), free_port()?)?;
        relay.start()?;
        let mut server = Node::init(binaries, &host, &folder.join("server"), "server", &relay)?;
        relay.run(&["authorize", &server.id()?, "--comment", "server"])?;
        server.start()?;
        for (name, port) in [("iperf", targets.iperf), ("echo", targets.echo)] {
            server.run(&["service", "add", name, &format!("127.0.0.1:{port}")])?;
        }
        let mut client = Node::blank(binaries, &host, &folder.join("client"), "client")?;
        server.pair_with(&mut client)?;
        client.start()?;
        // The first start compiles the plugins; what counts is a daemon that finds them compiled.
        for node in [&mut server, &mut client] {
            node.stop()?;
            node.start()?;
        }
        let path = poll("a direct path", DIRECT_TIMEOUT, || {
            let ping = client.attempt(&["ping", "server", "-c", "1"])?;
            let direct = ping.stdout.split_once("path=").map(|(_, path)| path.to_owned());
            Ok(direct.filter(|path| path.contains("DIRECT")))
        })?;
        let path = path.lines().next().unwrap_or_default().to_owned();

        let mut contestant = Self::new(&format!("peerup {path}"), String::new(), String::new());
        for (label, node) in [("daemon that serves", &server), ("daemon that connects", &client)] {
            let pid = node.daemon().context("no daemon")?.id();
            contestant.parts.push((label.to_owned(), pid));
        }
        let (proxy, address) = client.proxy("server", "iperf")?;
        contestant.iperf = address;
        contestant.processes.push(proxy);
        let (proxy, address) = client.proxy("server", "echo")?;
        contestant.echo = address;
        contestant.processes.push(proxy);
        for process in &contestant.processes {
            contestant.parts.push(("`peerup proxy`".to_owned(), process.id()));
        }
        contestant.nodes = vec![client, server];
        contestant._relay = Some(relay);
        Ok(contestant)
    }

    /// A rathole server and client, in plain text or with its Noise transport.
    pub(super) fn rathole(folder: &Path, targets: Targets, noise: bool) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let rathole = tools::find("rathole").context("rathole is not on PATH")?;
        let (control, iperf, echo) = (free_port()?, free_port()?, free_port()?);
        let (mut server, mut client) = (String::new(), String::new());
        if noise {
            let (private, public) = rathole_keys(&rathole)?;
            let transport = |end: &str, key: &str| {
                format!("[{end}.transport]\ntype = \"noise\"\n[{end}.transport.noise]\n{key}\n")
            };
            server = transport("server", &format!("local_private_key = \"{private}\""));
            client = transport("client", &format!("remote_public_key = \"{public}\""));
        }
        let server = format!(
            "[server]\nbind_addr = \"127.0.0.1:{control}\"\ndefault_token = \"bench\"\n{server}\
             [server.services.iperf]\nbind_addr = \"127.0.0.1:{iperf}\"\n\
             [server.services.echo]\nbind_addr = \"127.0.0.1:{echo}\"\n"
        );
        let client = format!(
            "[client]\nremote_addr = \"127.0.0.1:{control}\"\ndefault_token = \"bench\"\n{client}\
             [client.services.iperf]\nlocal_addr = \"127.0.0.1:{}\"\n\
             [client.services.echo]\nlocal_addr = \"127.0.0.1:{}\"\n",
            targets.iperf, targets.echo
        );
        let name = if noise {
            "rathole with Noise"
        } else {
            "rathole in plain text"
        };
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut contestant = Self::new(name, at(iperf), at(echo));
        for (end, text) in [("server", server), ("client", client)] {
            let config = folder.join(format!("{end}.toml"));
            fs::write(&config, text)?;
            let mut command = Command::new(&rathole);
            command.arg(format!("--{end}")).arg(&config);
            let process = Process::spawn(&format!("rathole {end}"), &mut command)?;
            contestant.parts.push((format!("rathole {end}"), process.id()));
            contestant.processes.push(process);
        }
        poll("rathole", START_TIMEOUT, || Ok(echoes(&contestant.echo).ok()))?;
        Ok(contestant)
    }
}

/// Returns a fresh private and public key of rathole's Noise transport.
fn rathole_keys(rathole: &Path) -> Result<(String, String)> {
    let text = run("rathole", Command::new(rathole).arg("--genkey"), START_TIMEOUT)?.success()?;
    let mut keys = text
        .lines()
        .map(str::trim)
        .filter(|line| line.len() >= 40 && !line.contains(' '))
        .map(str::to_owned);
    keys.next()
        .zip(keys.next())
        .context("`rathole --genkey` prints no keys")
}

/// One byte there and back.
fn echoes(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(())
}

/// The hidden chore `copy-loop`: listens on a free port and joins each connection to one to `target`.
///
/// # Errors
/// Where no port can be bound.
pub(crate) fn copy_loop(target: &str) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    for inner in listener.incoming() {
        let inner = inner?;
        let target = target.to_owned();
        thread::spawn(move || {
            // The end of one connection, however it comes, is that connection's own affair.
            let _ = join(inner, &target);
        });
    }
    Ok(())
}

fn join(inner: TcpStream, target: &str) -> Result<()> {
    let outer = TcpStream::connect(target)?;
    inner.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    let (from, to) = (inner.try_clone()?, outer.try_clone()?);
    thread::spawn(move || copy(from, to));
    copy(outer, inner);
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let block = buffer.get(..read).unwrap_or_default();
        if to.write_all(block).is_err() {
            break;
        }
    }
    // The other side may have gone first.
    let _ = to.shutdown(Shutdown::Write);
}
