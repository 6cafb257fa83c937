//! The calls that came with contract 0.1.1.

use crate::bindings::peerup::plugin::{events, name_list, store, types::Error, udp};

/// Makes one of them, as `calls::perform` does.
pub(crate) async fn perform(call: &str, on: &str) -> Result<String, Error> {
    let told = match call {
        "udp.bind" => {
            udp::bind(on.to_owned()).await?;
            "a socket"
        }
        "udp.connect" => {
            udp::connect(on.to_owned()).await?;
            "a socket"
        }
        "udp.socket.send" => {
            let socket = udp::bind("127.0.0.1:0".to_owned()).await?;
            socket.send(b"x".to_vec(), Some(on.to_owned())).await?;
            "sent"
        }
        "store.get" => {
            store::get(on.to_owned()).await?;
            "an answer"
        }
        "store.apply" => {
            store::apply(vec![(on.to_owned(), Some(b"value".to_vec()))]).await?;
            "kept"
        }
        "store.apply-if" => {
            let change = (on.to_owned(), Some(b"value".to_vec()));
            store::apply_if("no such key".to_owned(), None, vec![change]).await?;
            "kept"
        }
        "store.keys" => {
            store::keys(on.to_owned(), None, 10).await?;
            "an answer"
        }
        "name-list.find" => {
            name_list::find(on.to_owned()).await?;
            "a peer"
        }
        "name-list.entries" => {
            name_list::entries().await?;
            "all names"
        }
        "events.subscribe" => {
            events::subscribe().await?;
            "a subscription"
        }
        other => return Err(Error::Invalid(format!("the probe has no call {other:?}"))),
    };
    Ok(told.to_owned())
}
