//! The load: iperf3 up and down, small round trips, new connections, with CPU time and memory beside it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use peerup_testkit::{Process, poll};
use serde_json::Value;

use super::contestant::Contestant;
use crate::{
    nodes::free_port,
    procfs::{cpu_seconds, resident_bytes},
};

const ROUNDS: usize = 2000;
const WARM_UP_ROUNDS: usize = 100;
const MESSAGE: usize = 64;
const PARALLEL: usize = 8;
/// How long connections are counted.
const CONNECTING: Duration = Duration::from_secs(3);
const IO_TIMEOUT: Duration = Duration::from_secs(20);
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What was measured of one contestant.
pub(super) struct Figures {
    /// The contestant.
    pub(super) name: String,
    /// Bytes a second from the client to the server.
    pub(super) up: f64,
    /// And back.
    pub(super) down: f64,
    /// CPU seconds for each 10^9 bytes, all parts together; none where there is no part.
    pub(super) cpu_per_gigabyte: Option<f64>,
    /// Microseconds of a 64-byte round trip.
    pub(super) median: f64,
    /// The slowest hundredth begins here.
    pub(super) p99: f64,
    /// New connections a second, one after the other.
    pub(super) sequential: f64,
    /// New connections a second from eight clients.
    pub(super) parallel: f64,
    /// Label, idle and highest resident bytes of each part.
    pub(super) memory: Vec<(String, u64, u64)>,
}

/// An iperf3 server on loopback.
pub(super) struct IperfServer {
    /// Its port.
    pub(super) port: u16,
    _process: Process,
}

impl IperfServer {
    /// Starts it.
    pub(super) fn start() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("iperf3");
        command.args(["--server", "--forceflush", "--bind", "127.0.0.1", "--port"]);
        let mut process = Process::spawn("iperf3", command.arg(port.to_string()))?;
        process.wait_for_line("\"listening\"", START_TIMEOUT, |line| line.contains("listening"))?;
        Ok(Self {
            port,
            _process: process,
        })
    }
}

/// Gives back what comes, in a thread for each connection.
pub(super) struct EchoServer {
    /// Its port.
    pub(super) port: u16,
}

impl EchoServer {
    /// Starts it; it lives as long as this process.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    // A client that ends in the middle has what it wanted.
                    let _ = echo(stream);
                });
            }
        });
        Ok(Self { port })
    }
}

fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        let Some(block) = buffer.get(..read).filter(|block| !block.is_empty()) else {
            return Ok(());
        };
        stream.write_all(block)?;
    }
}

/// Puts the whole load on one contestant.
pub(super) fn measure(contestant: &Contestant, time: Duration) -> Result<Figures> {
    let idle = memory(contestant)?;
    let pids = contestant.pids();
    let mut highest = idle.clone();

    let before = cpu_seconds(&pids)?;
    let up = iperf(contestant, time, false, &mut highest)?;
    let down = iperf(contestant, time, true, &mut highest)?;
    let cpu = cpu_seconds(&pids)? - before;
    let bytes = up.bytes + down.bytes;

    let mut rounds = round_trips(&contestant.echo)?;
    rounds.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (rounds.len() as f64 * share) as usize;
        rounds.get(index).copied().unwrap_or_default()
    };
    let memory = contestant
        .parts
        .iter()
        .zip(idle.iter().zip(&highest))
        .map(|((label, _), (idle, highest))| (label.clone(), *idle, *highest))
        .collect();
    Ok(Figures {
        name: contestant.name.clone(),
        up: up.rate,
        down: down.rate,
        cpu_per_gigabyte: (!pids.is_empty()).then(|| cpu / (bytes / 1e9)),
        median: at(0.5),
        p99: at(0.99),
        sequential: connections(&contestant.echo, 1)?,
        parallel: connections(&contestant.echo, PARALLEL)?,
        memory,
    })
}

fn memory(contestant: &Contestant) -> Result<Vec<u64>> {
    contestant.pids().into_iter().map(resident_bytes).collect()
}

struct Transfer {
    bytes: f64,
    rate: f64,
}

fn iperf(contestant: &Contestant, time: Duration, reverse: bool, highest: &mut [u64]) -> Result<Transfer> {
    let (host, port) = contestant.iperf.rsplit_once(':').context("no port")?;
    let mut command = Command::new("iperf3");
    command.args(["--json", "--client", host, "--port", port, "--time"]);
    command.arg(time.as_secs().to_string());
    if reverse {
        command.arg("--reverse");
    }
    let mut client = Process::spawn("iperf3", &mut command)?;
    poll("iperf3", time + IO_TIMEOUT, || {
        for (highest, now) in highest.iter_mut().zip(memory(contestant)?) {
            *highest = now.max(*highest);
        }
        client.exited()
    })?;
    let told = client.finish(IO_TIMEOUT)?;
    let report: Value = serde_json::from_str(&told.stdout).context("iperf3 prints no JSON")?;
    if let Some(error) = report.get("error") {
        bail!("iperf3: {error}");
    }
    let sum = report
        .pointer("/end/sum_received")
        .context("iperf3 reports no sum")?;
    let number = |key: &str| {
        sum.get(key)
            .and_then(Value::as_f64)
            .context("iperf3 reports no figure")
    };
    Ok(Transfer {
        bytes: number("bytes")?,
        rate: number("bits_per_second")? / 8.0,
    })
}

fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    Ok(stream)
}

/// Returns microseconds for each round.
fn round_trips(address: &str) -> Result<Vec<f64>> {
    let mut stream = connect(address)?;
    let message = [7; MESSAGE];
    let mut answer = [0; MESSAGE];
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..WARM_UP_ROUNDS + ROUNDS {
        let start = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        if round >= WARM_UP_ROUNDS {
            rounds.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    ensure!(answer == message, "the echo is not what was sent");
    Ok(rounds)
}

/// Returns connections a second: connect, one byte there and back, close.
fn connections(address: &str, clients: usize) -> Result<f64> {
    let start = Instant::now();
    let running: Vec<_> = (0..clients)
        .map(|_| {
            let address = address.to_owned();
            thread::spawn(move || -> Result<u32> {
                let mut count = 0;
                while start.elapsed() < CONNECTING {
                    let mut stream = connect(&address)?;
                    stream.write_all(b"x")?;
                    stream.read_exact(&mut [0])?;
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let mut total = 0;
    for client in running {
        total += client
            .join()
            .map_err(|_| anyhow::anyhow!("a client panicked"))??;
    }
    Ok(f64::from(total) / start.elapsed().as_secs_f64())
}
