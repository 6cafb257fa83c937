//! What touches the host's own machine: sockets, files, variables, the store, events.

use std::fs;

use peerup_plugin_sdk::{Error, events, life, name_list, output, store, udp};
use serde_json::json;

use crate::Details;

pub(crate) async fn behave(behaviour: &str, details: &Details) -> Result<(), Error> {
    match behaviour {
        "udp-bind" => tell(&udp::bind(&details.address).await?.local_address()).await,
        "udp-ask" => {
            let socket = udp::connect(&details.target).await?;
            socket.send(details.value.as_bytes()).await?;
            tell(&text(&socket.receive(8).await?)).await
        }
        "udp-send" => {
            udp::bind(&details.address)
                .await?
                .send_to(b"x", &details.target)
                .await
        }
        "udp-answer" => udp_answer(details).await,
        "udp-huge" => udp::connect(&details.target).await?.send(&[0; 70_000]).await,
        "udp-none" => udp::bind(&details.address).await?.receive(0).await.map(drop),
        "udp-flood" => {
            let socket = udp::connect(&details.target).await?;
            for _ in 0..details.count {
                socket.send(&[0; 1000]).await?;
            }
            Ok(())
        }
        "udp-leak" => leak(details.count, || udp::bind(&details.address)).await,
        "store-set" => store::set(&details.key, details.value.as_bytes()).await,
        "store-get" => {
            let value = store::get(&details.key).await?;
            tell(&value.map_or("none".to_owned(), |value| {
                String::from_utf8_lossy(&value).into_owned()
            }))
            .await
        }
        "store-delete" => store::delete(&details.key).await,
        "store-keys" => {
            let after = Some(details.value.as_str()).filter(|after| !after.is_empty());
            tell(&store::keys(&details.key, after, details.count).await?.join(",")).await
        }
        "store-count" => count_up(details).await,
        "store-long-key" => store::set(&"k".repeat(600), b"x").await,
        "store-many" => {
            let batch = (0..details.count).fold(store::Batch::new(), |batch, index| {
                batch.set(format!("k{index:05}"), b"x")
            });
            batch.apply().await
        }
        "store-fill" => {
            for index in 0..details.count {
                store::set(&format!("fill{index}"), vec![7; 100_000]).await?;
            }
            Ok(())
        }
        "store-half" => {
            let batch = store::Batch::new()
                .set("half", b"made")
                .set("k".repeat(600), b"x");
            batch.apply().await
        }
        "read" => tell(&fs::read_to_string(&details.path).map_err(|error| failed(&error))?).await,
        "write" => fs::write(&details.path, &details.value).map_err(|error| failed(&error)),
        "list" => {
            let entries = fs::read_dir(&details.path).map_err(|error| failed(&error))?;
            let names: Vec<_> = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            tell(&names.join(",")).await
        }
        "variable" => tell(&std::env::var(&details.name).unwrap_or_else(|_| "none".to_owned())).await,
        "variables" => tell(&std::env::vars().count().to_string()).await,
        "events" => tell_events(details).await,
        "events-leak" => leak(details.count, events::subscribe).await,
        "find" => {
            tell(
                &name_list::find(&details.name)
                    .await?
                    .unwrap_or_else(|| "none".to_owned()),
            )
            .await
        }
        "entries" => {
            let entries = name_list::entries().await?;
            let names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
            tell(&names.join(",")).await
        }
        "stopping" => {
            tell("waiting").await?;
            life::stopping().await;
            tell("stopping").await
        }
        other => Err(Error::invalid(format!(
            "no behaviour {other:?} without a connection"
        ))),
    }
}

async fn tell(text: &str) -> Result<(), Error> {
    output::emit(text, &json!({ "text": text })).await
}

fn text(datagrams: &[udp::Datagram]) -> String {
    let texts: Vec<_> = datagrams
        .iter()
        .map(|datagram| String::from_utf8_lossy(&datagram.data))
        .collect();
    texts.join(",")
}

fn failed(error: &std::io::Error) -> Error {
    Error::refused(error.to_string())
}

/// Tells its address, waits for one datagram, answers it, and then tries an address that has sent nothing.
async fn udp_answer(details: &Details) -> Result<(), Error> {
    let socket = udp::bind(&details.address).await?;
    tell(&socket.local_address()).await?;
    for datagram in socket.receive(1).await? {
        socket.send_to(&datagram.data, &datagram.remote).await?;
    }
    socket.send_to(b"unasked", &details.target).await
}

/// Adds one to a number as often as asked, whoever else does the same.
async fn count_up(details: &Details) -> Result<(), Error> {
    for _ in 0..details.count {
        loop {
            let old = store::get(&details.key).await?;
            let number: u32 = old
                .as_deref()
                .and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok())
                .unwrap_or_default();
            let batch = store::Batch::new().set(&details.key, (number + 1).to_string());
            if batch.apply_if(&details.key, old.as_deref()).await? {
                break;
            }
        }
    }
    Ok(())
}

async fn tell_events(details: &Details) -> Result<(), Error> {
    let subscription = events::subscribe().await?;
    tell("subscribed").await?;
    for _ in 0..details.count {
        let event = subscription.next().await?;
        let peer = event.peer.map_or("none".to_owned(), |peer| peer.to_string());
        let path = event.path.map_or("none".to_owned(), |path| path.to_string());
        tell(&format!("{:?} {peer} {path}", event.kind)).await?;
    }
    Ok(())
}

/// Takes one handle after the other and keeps them all.
async fn leak<T>(count: u32, take: impl AsyncFn() -> Result<T, Error>) -> Result<(), Error> {
    let mut kept = Vec::new();
    for _ in 0..count {
        kept.push(take().await?);
    }
    Ok(())
}
