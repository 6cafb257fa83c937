//! `resolve`: who a name stands for. Needs no network and no daemon.

use std::collections::BTreeSet;

use peerup_api::{ClientError, ResolveAnswer, ResolveRequest};
use peerup_model::Failure;
use peerup_trust::KeyFile;

use crate::{context::Context, output, session};

pub(crate) async fn run(context: &Context, name: &str) -> Result<(), Failure> {
    let (path, config) = context.load()?;
    let answer = match session::running(&path).await {
        Some(client) => {
            let request = ResolveRequest {
                name: name.to_owned(),
            };
            client
                .post("/v1/resolve", &request)
                .await
                .map_err(ClientError::into_failure)?
        }
        None => {
            let keys = KeyFile::new(config.security.authorized_keys_file.clone())
                .load_or_empty()
                .map_err(|error| peerup_daemon::keys_failure(&error))?;
            let mut known: BTreeSet<_> = keys.entries().map(|entry| entry.peer).collect();
            known.extend(config.names.values());
            known.extend(config.relays.iter().map(peerup_config::RelayAddress::peer));
            let (peer, source) = peerup_daemon::resolve(&config, &known, name)?;
            ResolveAnswer {
                name: name.to_owned(),
                peer_id: peer.to_base58(),
                source: source.as_str().to_owned(),
            }
        }
    };
    if context.json {
        return output::json(&answer);
    }
    output::line(format!("{} ({})", answer.peer_id, answer.source))
}
