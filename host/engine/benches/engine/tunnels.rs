//! Ten thousand tunnels that were used and lie idle, without an instance, beside as many loops of Tokio.
//!
//! Each kind is held by a process of its own, and the ends of the tunnels by this one: what is measured is what the
//! tunnels take, and what one kind gives back to the allocator is not what the other one takes.

use std::{fmt::Write, process::Stdio};

use peerup_engine::{Duplex, Plugin};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::{
    engine,
    figures::{descriptors, resident},
    service_request, tcp_proxy,
};

/// The words that start a process for each kind.
pub(crate) const HOLDERS: [&str; 2] = ["hold-loops", "hold-tunnels"];

const TUNNELS: u64 = 10_000;
/// Opened before anything is counted: the first ones pay for what is made once.
const FIRST: u64 = 50;
/// Each process has one end of two connections.
const DESCRIPTORS_EACH: u64 = 2;
const DESCRIPTORS_BESIDE: u64 = 100;

pub(crate) async fn measure() -> String {
    let count = allowed();
    let mut out = format!(
        "| {count} at once, after 128 bytes each way | resident KB each | descriptors each | instances |\n\
         | --- | --- | --- | --- |\n"
    );
    let names = [
        "`copy_bidirectional` of Tokio, a task each",
        "tunnels of `tcp-proxy`",
    ];
    for (name, holder) in names.into_iter().zip(HOLDERS) {
        let told = drive(holder, count).await;
        writeln!(out, "| {name} | {told} |").unwrap();
    }
    out
}

/// Opens the ends of tunnels through a process that holds them, and returns what that says of them.
async fn drive(holder: &str, count: u64) -> String {
    let back = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([holder, &back.local_addr().unwrap().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tell = child.stdin.take().unwrap();
    let entrance = told.next_line().await.unwrap().unwrap();
    let mut ends = Vec::new();
    for wanted in [FIRST, count - FIRST] {
        for _ in 0..wanted {
            let (outer, inner) = tokio::join!(TcpStream::connect(&entrance), back.accept());
            let mut pair = (outer.unwrap(), inner.unwrap().0);
            exchange(&mut pair.0, &mut pair.1).await;
            ends.push(pair);
        }
        tell.write_all(format!("{wanted}\n").as_bytes()).await.unwrap();
    }
    let figures = told.next_line().await.unwrap().unwrap();
    drop(ends);
    child.kill().await.unwrap();
    figures
}

async fn exchange(one: &mut TcpStream, other: &mut TcpStream) {
    for _ in 0..2 {
        one.write_all(&[7; 64]).await.unwrap();
        other.read_exact(&mut [0; 64]).await.unwrap();
        other.write_all(&[7; 64]).await.unwrap();
        one.read_exact(&mut [0; 64]).await.unwrap();
    }
}

/// In a process of its own: holds what comes, and prints what it takes when told to.
pub(crate) async fn hold(holder: &'static str, exit: String) -> String {
    allowed();
    let engine = engine();
    let plugin = tcp_proxy(&engine).await;
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", front.local_addr().unwrap());
    let through = (holder == HOLDERS[1]).then(|| plugin.clone());
    let accepting = tokio::spawn(accept(front, exit, through.clone()));
    let mut told = BufReader::new(tokio::io::stdin()).lines();
    told.next_line().await.unwrap();
    let before = (resident(), descriptors());
    let count: f64 = told.next_line().await.unwrap().unwrap().parse().unwrap();
    let bytes = resident() as f64 - before.0 as f64;
    let more = (descriptors() - before.1) as f64;
    let stats = plugin.stats();
    let instances = match through {
        Some(_) => stats.instances_live.to_string(),
        None => "-".to_owned(),
    };
    accepting.abort();
    assert!(
        instances == "-" || stats.spliced_live as f64 >= count,
        "tunnels were lost: {stats:?}"
    );
    format!("{:.1} | {:.1} | {instances}", bytes / count / 1e3, more / count)
}

async fn accept(front: TcpListener, exit: String, plugin: Option<Plugin>) {
    loop {
        let (mut near, _) = front.accept().await.unwrap();
        match &plugin {
            Some(plugin) => plugin
                .handle_inbound(service_request(&exit), Duplex::tcp(near))
                .await
                .unwrap(),
            None => {
                let mut far = TcpStream::connect(&exit).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        }
    }
}

/// How many tunnels a process may have, with as many descriptors as the system lets it take.
fn allowed() -> u64 {
    let wanted = TUNNELS * DESCRIPTORS_EACH + DESCRIPTORS_BESIDE;
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(wanted);
    // Root may take more than it was given.
    for most in [most.max(wanted), most] {
        let raised = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            break;
        }
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    TUNNELS.min((most - DESCRIPTORS_BESIDE) / DESCRIPTORS_EACH)
}
