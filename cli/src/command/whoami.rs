//! `whoami`: the peer id alone. Never makes a key.

use peerup_api::WhoInfo;
use peerup_config::NodeConfig;
use peerup_model::Failure;

use crate::{context::Context, output};

pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let (_, config) = context.load()?;
    let peer_id = own_id(&config)?;
    if context.json {
        return output::json(&WhoInfo { peer_id });
    }
    output::line(peer_id)
}

/// Returns the peer id of the config's key.
pub(super) fn own_id(config: &NodeConfig) -> Result<String, Failure> {
    let keypair = peerup_trust::load_identity(&config.key_file)
        .map_err(|error| peerup_daemon::identity_failure(&error))?;
    Ok(keypair.public().to_peer_id().to_base58())
}
