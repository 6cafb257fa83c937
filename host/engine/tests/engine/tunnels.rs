//! Tunnels that outlive the instance that joined them.

use std::io;

use peerup_engine::{Duplex, PluginError};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    bounce, call, echo_server, engine, hostile, load, outcome_of, peer_stream, request, request_at, tcp_pair,
    until, within,
};

#[tokio::test]
async fn ten_tunnels_carry_data_without_an_instance() {
    let (engine, address) = (engine(), echo_server().await);
    let plugin = load(&engine, hostile()).await;
    let mut tunnels = Vec::new();
    for _ in 0..10 {
        let (far, handler) = call(&plugin, request_at("pass", &address));
        within(handler).await.unwrap().unwrap();
        tunnels.push(far);
    }
    assert_eq!(plugin.stats().instances_live, 0);
    assert_eq!(plugin.stats().instances_total, 10);
    assert_eq!((plugin.stats().spliced_live, engine.splices().live()), (10, 10));
    for (number, far) in tunnels.iter_mut().enumerate() {
        bounce(far, &format!("over tunnel {number}")).await;
    }
    let infos = engine.splices().list();
    assert!(infos.iter().all(|info| {
        let named = info.peer.as_ref().and_then(|peer| peer.name.as_ref());
        info.bytes_in == 13
            && info.bytes_out == 13
            && info.service.as_deref() == Some("web")
            && named.is_some_and(|name| name.as_str() == "laptop")
    }));
    for mut far in tunnels {
        within(far.shutdown()).await.unwrap();
        let mut rest = Vec::new();
        within(far.read_to_end(&mut rest)).await.unwrap();
    }
    until(|| plugin.stats().spliced_live == 0).await;
    let stats = plugin.stats();
    assert_eq!(
        (stats.spliced_total, stats.bytes_in, stats.bytes_out),
        (10, 130, 130)
    );
    assert_eq!(engine.splices().totals().bytes_in, 130);
}

#[tokio::test]
async fn fifty_streams_at_once_each_get_their_own_bytes_back() {
    let (engine, address) = (engine(), echo_server().await);
    let plugin = load(&engine, hostile()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let behaviour = if number % 2 == 0 { "pass" } else { "echo" };
        let request = if behaviour == "pass" {
            request_at("pass", &address)
        } else {
            request("echo")
        };
        let plugin = plugin.clone();
        tasks.spawn(async move {
            let (mut far, handler) = call(&plugin, request);
            let sent: Vec<u8> = (0..200_000_u32).map(|byte| (byte * 7 + number) as u8).collect();
            let expected = sent.clone();
            let (mut reader, mut writer) = tokio::io::split(&mut far);
            let send = async {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            let (_, read) = within(async { tokio::join!(send, reader.read_to_end(&mut back)) }).await;
            read.unwrap();
            assert!(back == expected, "{number}: {} bytes came back", back.len());
            within(handler).await.unwrap().unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    until(|| plugin.stats().spliced_live == 0).await;
    assert_eq!(plugin.stats().bytes_in, 50 * 200_000);
    assert_eq!(plugin.stats().bytes_out, 50 * 200_000);
    assert_eq!(plugin.stats().traps, 0);
}

/// A tunnel of TCP on both sides: the outer end, and the service's end.
async fn tcp_tunnel(plugin: &peerup_engine::Plugin) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (outer, near) = tcp_pair().await;
    let handled = plugin.handle_inbound(request_at("pass", &address), Duplex::tcp(near));
    let (handled, accepted) = within(async { tokio::join!(handled, listener.accept()) }).await;
    handled.unwrap();
    (outer, accepted.unwrap().0)
}

#[tokio::test]
async fn a_half_close_passes_and_the_other_direction_goes_on() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    for turned in [false, true] {
        let (outer, inner) = tcp_tunnel(&plugin).await;
        let (mut first, mut second) = if turned { (inner, outer) } else { (outer, inner) };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        let mut got = Vec::new();
        within(second.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, b"question");
        second.write_all(b"late answer").await.unwrap();
        second.shutdown().await.unwrap();
        let mut got = Vec::new();
        within(first.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, b"late answer");
    }
    until(|| engine.splices().live() == 0).await;
}

#[tokio::test]
async fn a_reset_passes_as_a_reset() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    for turned in [false, true] {
        let (outer, inner) = tcp_tunnel(&plugin).await;
        let (first, mut second) = if turned { (inner, outer) } else { (outer, inner) };
        SockRef::from(&first)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop(first);
        let error = within(second.read(&mut [0; 16])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "turned: {turned}");
    }
    until(|| engine.splices().live() == 0).await;
}

#[tokio::test]
async fn closing_a_tunnel_resets_both_of_its_ends() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let (mut outer, mut inner) = tcp_tunnel(&plugin).await;
    let id = engine.splices().list()[0].id;
    assert!(engine.splices().close(id));
    for end in [&mut outer, &mut inner] {
        let error = within(end.read(&mut [0; 16])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    until(|| engine.splices().live() == 0).await;
    assert!(!engine.splices().close(id));
}

#[tokio::test]
async fn shutting_down_drains_and_then_resets() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let (mut outer, _inner) = tcp_tunnel(&plugin).await;
    let (_far, held) = call(&plugin, request("hold"));
    until(|| plugin.stats().instances_live == 1).await;
    within(engine.shut_down(std::time::Duration::from_millis(10))).await;
    let error = within(outer.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(within(held).await.unwrap(), Err(PluginError::Cancelled));
}

#[tokio::test]
async fn a_plugin_has_no_more_tunnels_than_its_limit() {
    let (engine, address) = (engine(), echo_server().await);
    let mut spec = hostile();
    spec.limits.tunnels = 1;
    let plugin = load(&engine, spec).await;
    let (mut first, handler) = call(&plugin, request_at("pass", &address));
    within(handler).await.unwrap().unwrap();
    let (mut second, handler) = call(&plugin, request_at("pass", &address));
    within(handler).await.unwrap().unwrap();
    bounce(&mut first, "still here").await;
    assert_eq!(within(second.read(&mut [0; 16])).await.unwrap(), 0);
    assert_eq!(plugin.stats().spliced_total, 1);
}

#[tokio::test]
async fn what_a_handler_drops_is_closed_when_it_returns_ok_and_reset_when_it_fails() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let (mut outer, near) = tcp_pair().await;
    within(plugin.handle_inbound(request("drop-ok"), Duplex::tcp(near)))
        .await
        .unwrap();
    assert_eq!(within(outer.read(&mut [0; 16])).await.unwrap(), 0);

    for behaviour in ["drop-err", "trap", "error"] {
        let (mut outer, near) = tcp_pair().await;
        within(plugin.handle_inbound(request(behaviour), Duplex::tcp(near)))
            .await
            .unwrap_err();
        let error = within(outer.read(&mut [0; 16])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{behaviour}");
    }
}

#[tokio::test]
async fn a_dropped_handler_resets_its_stream() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let (mut outer, near) = tcp_pair().await;
    let inner = plugin.clone();
    let handler = tokio::spawn(async move { inner.handle_inbound(request("hold"), Duplex::tcp(near)).await });
    until(|| plugin.stats().instances_live == 1).await;
    handler.abort();
    let error = within(outer.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    until(|| plugin.stats().instances_live == 0).await;
}

#[tokio::test]
async fn each_direction_is_taken_once() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let (mut far, handler) = call(&plugin, request("twice"));
    bounce(&mut far, "the first taking still works").await;
    far.shutdown().await.unwrap();
    within(handler).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_crash_ends_one_stream_and_no_other() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let mut nine: Vec<_> = (0..9).map(|_| call(&plugin, request("echo"))).collect();
    for (far, _) in &mut nine {
        bounce(far, "before").await;
    }
    let crashed = outcome_of(&plugin, request("trap")).await.unwrap_err();
    assert!(matches!(crashed, PluginError::Trap { .. }), "{crashed}");
    assert_eq!((plugin.stats().traps, plugin.stats().instances_live), (1, 9));
    for (mut far, handler) in nine {
        bounce(&mut far, "after").await;
        far.shutdown().await.unwrap();
        within(handler).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_stream_guard_lives_as_long_as_its_tunnel() {
    let (engine, address) = (engine(), echo_server().await);
    let plugin = load(&engine, hostile()).await;
    let alive = std::sync::Arc::new(());
    let (mut far, near) = peer_stream();
    let near = near.with_guard(Box::new(alive.clone()));
    within(plugin.handle_inbound(request_at("pass", &address), near))
        .await
        .unwrap();
    bounce(&mut far, "held").await;
    assert_eq!(std::sync::Arc::strong_count(&alive), 2);
    drop(far);
    until(|| std::sync::Arc::strong_count(&alive) == 1).await;
}
