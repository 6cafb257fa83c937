//! Bytes through a tunnel that the host joined, beside a loop of Tokio that copies them.

use std::time::Instant;

use peerup_engine::{Duplex, Plugin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
};

use crate::{engine, figures::median, service_request, support::tcp_pair, tcp_proxy};

const ROUNDS: usize = 9;
const BYTES: usize = 1 << 30;
const BLOCK: usize = 64 << 10;

/// What joins the two connections.
#[derive(Clone, Copy)]
enum Join<'a> {
    Loop,
    Host(&'a Plugin),
}

pub(crate) async fn measure() -> String {
    let engine = engine();
    let plugin = tcp_proxy(&engine).await;
    let (mut loops, mut hosts) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let native = rate(Join::Loop).await;
        let spliced = rate(Join::Host(&plugin)).await;
        if round > 0 {
            loops.push(native);
            hosts.push(spliced);
        }
    }
    // Of pairs that were measured right after each other: the machine's own ups and downs fall out.
    let ratio = median(
        loops
            .iter()
            .zip(&hosts)
            .map(|(native, spliced)| spliced / native)
            .collect(),
    );
    format!(
        "| | MB/s | ratio |\n| --- | --- | --- |\n| `copy_bidirectional` of Tokio, buffers of 64 KiB | {:.0} | 1.00 |\n\
         | a tunnel of `tcp-proxy` (target: 0.95) | {:.0} | {ratio:.2} |\n",
        median(loops) / 1e6,
        median(hosts) / 1e6,
    )
}

/// Bytes a second over two TCP connections and what joins them.
async fn rate(join: Join<'_>) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (outer, near) = tcp_pair().await;
    let inner = match join {
        Join::Loop => {
            let (far, inner) = tokio::join!(TcpStream::connect(&address), listener.accept());
            let (mut far, mut near) = (far.unwrap(), near);
            far.set_nodelay(true).unwrap();
            tokio::spawn(
                async move { copy_bidirectional_with_sizes(&mut near, &mut far, BLOCK, BLOCK).await },
            );
            inner.unwrap().0
        }
        Join::Host(plugin) => {
            let handled = plugin.handle_inbound(service_request(&address), Duplex::tcp(near));
            let (handled, inner) = tokio::join!(handled, listener.accept());
            handled.unwrap();
            inner.unwrap().0
        }
    };
    let start = Instant::now();
    let writer = tokio::spawn(write(outer));
    read(inner).await;
    let took = start.elapsed().as_secs_f64();
    writer.await.unwrap();
    BYTES as f64 / took
}

async fn write(mut stream: TcpStream) {
    let block = vec![7; BLOCK];
    for _ in 0..BYTES / BLOCK {
        stream.write_all(&block).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    // The other direction ends too.
    let _ = stream.read(&mut [0]).await;
}

async fn read(mut stream: TcpStream) {
    let mut block = vec![0; BLOCK];
    let mut left = BYTES;
    while left > 0 {
        let read = stream.read(&mut block).await.unwrap();
        assert!(read > 0, "{left} bytes are missing");
        left -= read;
    }
}
