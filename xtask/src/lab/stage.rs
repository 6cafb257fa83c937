//! What every case starts from: the lab, a relay in the public segment, a node behind each router.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Host, ImpairedLink, Lab, NAT_A_ADDRESS, Process, RELAY_ADDRESS, run};
use tempfile::TempDir;

use super::{ground::Extra, record::Record, transcript::Transcript};
use crate::{
    binaries::Binaries,
    nodes::{Node, Relay},
    tools,
};

/// The relay's port.
const RELAY_PORT: u16 = 7777;
/// Lines of each log that are shown when a case fails.
const TAIL: usize = 40;
/// A helper that is to say something says it by then.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// The node behind the first router, and what the other one calls it.
pub(super) const HOME: &str = "home";
/// The node behind the second router.
pub(super) const LAPTOP: &str = "laptop";

/// The setting of one case, with everything that runs in it. Fields drop in order: processes first.
pub(super) struct Stage {
    /// Helpers that run until the case ends.
    pub(super) helpers: Vec<Process>,
    /// Behind the first router.
    pub(super) home: Option<Node>,
    /// Behind the second router.
    pub(super) laptop: Option<Node>,
    /// In the public segment.
    pub(super) relay: Option<Relay>,
    /// The other one in the public segment.
    pub(super) second_relay: Option<Relay>,
    /// Namespaces beside those of the lab.
    pub(super) extras: Vec<Extra>,
    /// Links with delay and loss.
    pub(super) links: Vec<ImpairedLink>,
    /// The namespaces.
    pub(super) lab: Lab,
    /// Further addresses of the first relay, as the beginnings of multiaddrs.
    pub(super) relay_also_at: Vec<String>,
    /// The binaries under test.
    pub(super) binaries: Binaries,
    /// What was measured.
    pub(super) records: Vec<Record>,
    /// Whether the laptop is in the second of its two networks.
    pub(super) moved: bool,
    transcript: Transcript,
    complaints: RefCell<Vec<String>>,
    folder: TempDir,
    start: Instant,
}

impl Stage {
    /// Builds the namespaces; nothing runs in them yet.
    pub(super) fn new(binaries: &Binaries, transcript: Transcript) -> Result<Self> {
        Ok(Self {
            helpers: Vec::new(),
            home: None,
            laptop: None,
            relay: None,
            second_relay: None,
            extras: Vec::new(),
            links: Vec::new(),
            lab: Lab::new()?,
            relay_also_at: Vec::new(),
            binaries: binaries.clone(),
            records: Vec::new(),
            moved: false,
            transcript,
            complaints: RefCell::default(),
            folder: tempfile::Builder::new().prefix("peerup-lab-").tempdir()?,
            start: Instant::now(),
        })
    }

    /// Says what was just shown.
    pub(super) fn note(&self, text: &str) {
        let elapsed = self.start.elapsed().as_secs_f32();
        self.transcript.line(&format!("  {elapsed:>6.1} s  {text}"));
    }

    /// Says more about what was just said.
    pub(super) fn detail(&self, text: &str) {
        self.transcript.line(&format!("             {text}"));
    }

    /// Returns what was said and not shown yet.
    pub(super) fn take_transcript(&self) -> String {
        self.transcript.take()
    }

    /// Notes what does not hold, and lets the case go on to the next thing.
    pub(super) fn complain(&self, what: String) {
        self.transcript.line(&format!("  DOES NOT HOLD: {what}"));
        self.complaints.borrow_mut().push(what);
    }

    /// Ends the case.
    ///
    /// # Errors
    /// Everything that was complained about.
    pub(super) fn verdict(&self) -> Result<()> {
        let complaints = self.complaints.borrow();
        ensure!(
            complaints.is_empty(),
            "{} things do not hold:\n{}",
            complaints.len(),
            complaints.join("\n")
        );
        Ok(())
    }

    /// A folder of this case.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Starts the gated relay.
    pub(super) fn start_relay(&mut self) -> Result<()> {
        let folder = self.folder("relay")?;
        let mut relay = Relay::init(&self.binaries, self.lab.relay(), &folder, RELAY_PORT)?;
        relay.start()?;
        self.relay = Some(relay);
        self.note("the relay is up");
        Ok(())
    }

    /// Starts the first node, authorised at the relay by hand: the only step of that kind.
    pub(super) fn start_home(&mut self) -> Result<()> {
        let folder = self.folder(HOME)?;
        let relay = self.relay.as_ref().context("no relay")?;
        let mut home = Node::init(&self.binaries, &self.lab.a().host, &folder, HOME, relay)?;
        relay.run(&["authorize", &home.id()?, "--comment", HOME])?;
        home.start()?;
        self.home = Some(home);
        self.note("home is up behind its router, authorised at the relay");
        Ok(())
    }

    /// Creates the second node, whose daemon runs before it has paired, and pairs it.
    pub(super) fn pair_laptop(&mut self) -> Result<()> {
        let folder = self.folder(LAPTOP)?;
        let relay = self.relay.as_ref().context("no relay")?;
        let mut laptop = Node::init(&self.binaries, &self.lab.b().host, &folder, LAPTOP, relay)?;
        laptop.start()?;
        self.note("laptop is up behind its router, known to nobody");
        let home = self.home.as_ref().context("no home node")?;
        let start = Instant::now();
        home.pair_with(&mut laptop)?;
        let took = start.elapsed();
        self.laptop = Some(laptop);
        self.note(&format!("invite and join: {:.1} s", took.as_secs_f32()));
        Ok(())
    }

    /// The first node.
    pub(super) fn home(&self) -> Result<&Node> {
        self.home.as_ref().context("no home node")
    }

    /// The second node.
    pub(super) fn laptop(&self) -> Result<&Node> {
        self.laptop.as_ref().context("no laptop node")
    }

    /// Starts a server of `sockets.py` beside the first node and offers it as a service.
    pub(super) fn serve(&mut self, service: &str, role: &str, port: u16) -> Result<()> {
        let mut server = self.spawn_server(service, role, port)?;
        listens(&mut server)?;
        self.helpers.push(server);
        self.offer(service, port)
    }

    /// Starts a server of `sockets.py` beside the first node; it does not listen yet.
    pub(super) fn spawn_server(&self, service: &str, role: &str, port: u16) -> Result<Process> {
        let mut command = self.script(&self.lab.a().host)?;
        command.args([role, &port.to_string()]);
        Process::spawn(service, &mut command)
    }

    /// Offers a local port of the first node as a service.
    pub(super) fn offer(&self, service: &str, port: u16) -> Result<()> {
        let address = format!("127.0.0.1:{port}");
        self.home()?.run(&["service", "add", service, &address])?;
        Ok(())
    }

    /// Opens a tunnel from the second node; the process belongs to the case from here on.
    pub(super) fn tunnel(&mut self, service: &str) -> Result<String> {
        let (proxy, address) = self.laptop()?.proxy(HOME, service)?;
        self.helpers.push(proxy);
        Ok(address)
    }

    /// A client of `sockets.py` beside the second node.
    pub(super) fn client(&self, role: &str, address: &str) -> Result<Command> {
        let (host, port) = address.rsplit_once(':').context("no port")?;
        let mut command = self.script(&self.lab.b().host)?;
        command.args([role, host, port]);
        Ok(command)
    }

    /// `sockets.py`, run there.
    pub(super) fn script(&self, host: &Host) -> Result<Command> {
        self.python(host, "sockets.py", SOCKETS)
    }

    /// A script of ours, run there.
    pub(super) fn python(&self, host: &Host, name: &str, script: &str) -> Result<Command> {
        let path = self.folder.path().join(name);
        if !path.exists() {
            fs::write(&path, script)?;
        }
        let python = tools::find("python3").context("python3 is missing")?;
        let mut command = host.command(python);
        command.arg(path);
        Ok(command)
    }

    /// Changes one field of an invite code, `token` or `expiry`, and makes the checksum right again.
    pub(super) fn forge(&self, code: &str, field: &str) -> Result<String> {
        let mut python = self.python(&self.lab.b().host, "forge_code.py", FORGE)?;
        let forged = run("forge_code.py", python.args([field, code]), SOON)?.success()?;
        Ok(forged.trim().to_owned())
    }

    /// Prints the end of every log.
    pub(super) fn print_tails(&self) {
        self.transcript.line("--- the ends of the logs");
        let nodes = [&self.home, &self.laptop].into_iter().flatten();
        let relays = [&self.relay, &self.second_relay].into_iter().flatten();
        let daemons = nodes
            .filter_map(Node::daemon)
            .chain(relays.filter_map(Relay::process));
        for process in daemons.chain(&self.helpers) {
            self.transcript.line(process.tail(TAIL).trim_end());
        }
    }
}

const FORGE: &str = include_str!("forge_code.py");
const SOCKETS: &str = include_str!("sockets.py");

/// Waits until a server of `sockets.py` is bound.
pub(super) fn listens(server: &mut Process) -> Result<()> {
    server.wait_for_line("\"listening\"", SOON, |line| line == "listening")?;
    Ok(())
}

/// Returns the SHA-256 of a file in hex.
pub(super) fn sha256(file: &Path) -> Result<String> {
    let text = run("sha256sum", Command::new("sha256sum").arg(file), SOON)?.success()?;
    let digest = text.split_whitespace().next().context("sha256sum says nothing")?;
    Ok(digest.to_owned())
}

/// The lab does what it is there for: out is open, in is closed, and the routers translate.
pub(super) fn routers_let_nothing_in(stage: &mut Stage) -> Result<()> {
    let connect = |host: &Host, address: &str| -> Result<bool> {
        let python = tools::find("python3").context("python3 is missing")?;
        let mut command = host.command(python);
        let script =
            format!("import socket; print(socket.create_connection(('{address}', 9000), 1).recv(64))");
        command.args(["-c", &script]);
        let finished = run("connect", &mut command, SOON)?;
        Ok(finished.code == 0 && finished.stdout.contains(NAT_A_ADDRESS))
    };
    let listen = "import socket\n\
        s = socket.create_server(('', 9000)); print('listening', flush=True)\n\
        while True:\n    c, a = s.accept(); c.sendall(a[0].encode()); c.close()";
    for host in [stage.lab.relay().clone(), stage.lab.a().host.clone()] {
        let python = tools::find("python3").context("python3 is missing")?;
        let mut command = host.command(python);
        command.args(["-c", listen]);
        let mut server = Process::spawn("listener", &mut command)?;
        server.wait_for_line("\"listening\"", SOON, |line| line == "listening")?;
        stage.helpers.push(server);
    }
    ensure!(
        connect(&stage.lab.a().host, RELAY_ADDRESS)?,
        "host A does not reach the public segment under its router's address"
    );
    stage.note("out works, and the public segment sees the router's address");
    for (from, who) in [
        (stage.lab.relay(), "the public segment"),
        (&stage.lab.b().host, "host B"),
    ] {
        let reached = connect(from, NAT_A_ADDRESS)? || connect(from, "192.168.11.2")?;
        ensure!(!reached, "{who} reaches host A unasked");
    }
    stage.note("nothing comes in unasked");
    Ok(())
}
