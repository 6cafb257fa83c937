//! The setting of a case of the matrix: relays and two nodes that know each other without having paired,
//! with what home serves to the laptop.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use peerup_testkit::{Process, run};

use super::{
    ground::SECOND_RELAY_ADDRESS,
    sequence,
    stage::{HOME, LAPTOP, SOON, Stage, listens},
};
use crate::nodes::{Node, Relay};

/// What home serves, by the name of the service and of the role in `sockets.py`.
const SERVICES: [(&str, &str, u16); 3] = [
    ("echo", "echo", 8103),
    ("sequence", "sequence", 8110),
    ("source", "source", 8111),
];
/// A first byte that takes longer than this is none.
const FIRST_BYTE: Duration = Duration::from_secs(70);
const RELAY_PORT: u16 = 7777;

impl Stage {
    /// Creates config and key of the first relay; it does not run yet.
    pub(super) fn create_relay(&mut self) -> Result<()> {
        let folder = self.folder("relay")?;
        let host = self.lab.relay();
        let mut addresses = vec![format!("/ip4/{}", host.address())];
        addresses.extend(self.relay_also_at.iter().cloned());
        let relay = Relay::init_at(&self.binaries, host, &folder, &addresses, RELAY_PORT)?;
        self.relay = Some(relay);
        Ok(())
    }

    /// Creates config and key of the second relay; it does not run yet.
    pub(super) fn create_second_relay(&mut self) -> Result<()> {
        let folder = self.folder("relay2")?;
        self.add_relay_address()?;
        let address = [format!("/ip4/{SECOND_RELAY_ADDRESS}")];
        let relay = Relay::init_at(&self.binaries, self.lab.relay(), &folder, &address, RELAY_PORT)?;
        self.second_relay = Some(relay);
        Ok(())
    }

    /// Creates both nodes with the relays there are, lets each into the other and both into the relays, all
    /// of it in files: what pairing comes to, in a tenth of the time. Starts what home serves.
    pub(super) fn create_pair(&mut self) -> Result<()> {
        let create = |name: &str, host| -> Result<Node> {
            let relays: Vec<&Relay> = self.relays().collect();
            Node::init_with(&self.binaries, host, &self.folder(name)?, name, &relays)
        };
        let home = create(HOME, &self.lab.a().host)?;
        let laptop = create(LAPTOP, &self.lab.b().host)?;
        home.introduce(&laptop)?;
        laptop.introduce(&home)?;
        for relay in self.relays() {
            for node in [&home, &laptop] {
                relay.run(&["authorize", &node.id()?, "--comment", &node.name])?;
            }
        }
        self.home = Some(home);
        self.laptop = Some(laptop);
        let first = self.helpers.len();
        for (service, role, port) in SERVICES {
            let server = self.spawn_server(service, role, port)?;
            self.helpers.push(server);
            self.offer(service, port)?;
        }
        for server in self.helpers.iter_mut().skip(first) {
            listens(server)?;
        }
        self.note("both nodes have a config and know each other");
        Ok(())
    }

    /// The relays that were created.
    pub(super) fn relays(&self) -> impl Iterator<Item = &Relay> {
        [&self.relay, &self.second_relay].into_iter().flatten()
    }

    /// Starts every relay that was created.
    pub(super) fn start_relays(&mut self) -> Result<()> {
        for relay in [&mut self.relay, &mut self.second_relay].into_iter().flatten() {
            relay.start()?;
        }
        Ok(())
    }

    /// Starts both nodes and waits until each has said that it is ready.
    pub(super) fn start_pair(&mut self) -> Result<()> {
        self.launch_pair()?;
        for node in [&mut self.home, &mut self.laptop].into_iter().flatten() {
            node.wait_ready()?;
        }
        self.note("both nodes are up");
        Ok(())
    }

    /// Starts both nodes without waiting for a relay.
    pub(super) fn launch_pair(&mut self) -> Result<()> {
        for node in [&mut self.home, &mut self.laptop].into_iter().flatten() {
            node.spawn()?;
        }
        self.home()?.wait_answer()?;
        self.laptop()?.wait_answer()
    }

    /// One relay, running, and both nodes on it.
    pub(super) fn start_with_relay(&mut self) -> Result<()> {
        self.create_relay()?;
        self.create_pair()?;
        self.start_relays()?;
        self.start_pair()
    }

    /// Two relays, running, and both nodes on them: what the kind of a NAT is told by.
    pub(super) fn start_with_relays(&mut self) -> Result<()> {
        self.create_relay()?;
        self.create_second_relay()?;
        self.create_pair()?;
        self.start_relays()?;
        self.start_pair()
    }

    /// Restarts the laptop's daemon, so that it has no connection, and measures from the start of `peerup
    /// proxy`, which looks for the peer, to the first byte through it.
    ///
    /// # Errors
    /// Where a step fails.
    pub(super) fn first_byte_after_start(&mut self) -> Result<Duration> {
        let laptop = self.laptop.as_mut().context("no laptop")?;
        laptop.stop()?;
        laptop.start()?;
        let start = Instant::now();
        let (_proxy, address) = laptop.proxy(HOME, "echo")?;
        let found = start.elapsed();
        Ok(found + self.first_byte(&address)?)
    }

    /// Measures a new connection through a tunnel to the echo service, inside the client.
    ///
    /// # Errors
    /// Where no byte comes back.
    pub(super) fn first_byte(&self, address: &str) -> Result<Duration> {
        let mut client = self.client("first-byte", address)?;
        let told = run("first-byte", &mut client, FIRST_BYTE)?.success()?;
        told.lines()
            .find_map(|line| sequence::milliseconds(line, "first-byte "))
            .with_context(|| format!("no first byte: {told}"))
    }

    /// Opens a new proxy to the echo service, measures the first byte through it, and closes it.
    ///
    /// # Errors
    /// Where no byte comes back.
    pub(super) fn new_tunnel(&self) -> Result<Duration> {
        let (_proxy, address): (Process, String) = self.laptop()?.proxy(HOME, "echo")?;
        self.first_byte(&address)
    }

    /// Opens a new connection through a tunnel every 250 ms until one of them has a byte back; returns how
    /// long that took from the first one.
    ///
    /// # Errors
    /// Where none has within `limit`.
    pub(super) fn first_byte_within(&self, address: &str, limit: Duration) -> Result<Duration> {
        let mut client = self.client("persist", address)?;
        client.arg(limit.as_secs().to_string());
        let told = run("persist", &mut client, limit + SOON)?
            .success()
            .with_context(|| self.explanation())?;
        let read = |label: &str| told.lines().find_map(|line| line.strip_prefix(label));
        let first = read("first-byte ").and_then(|text| sequence::milliseconds(text, ""));
        if let Some(number) = read("by ").filter(|number| *number != "1") {
            self.detail(&format!("it was connection {number}, each 250 ms after the last"));
        }
        first.with_context(|| format!("no first byte: {told}"))
    }
}

/// How long something may take that a person waits for, with room for a machine that is busy.
pub(super) fn thrice(target: Duration) -> Duration {
    target * 3
}

/// Waits for a fixed time, and for nothing.
pub(super) fn pass(time: Duration) -> Result<()> {
    let start = Instant::now();
    peerup_testkit::poll("the time to pass", time + SOON, || {
        Ok((start.elapsed() >= time).then_some(()))
    })
}
