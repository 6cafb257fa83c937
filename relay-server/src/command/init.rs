//! `init`: a config, a key and an empty list of authorised peers, none of them overwritten.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use peerup_config::{RelayTemplate, create_config, parse_relay, render_relay_config};
use peerup_model::{ErrorCode, Failure};
use peerup_trust::create_identity;

use super::{print, tell};
use crate::arguments::InitArguments;
use crate::failure::{config_failure, identity_failure};

/// The config that `init` writes.
const CONFIG_NAME: &str = "relay-server.yaml";

/// Writes the files of a new relay; prints its peer id.
pub(super) fn init(arguments: &InitArguments) -> Result<(), Failure> {
    let directory = &arguments.dir;
    fs::create_dir_all(directory).map_err(|error| io_failure("make the folder", directory, &error))?;
    let path = directory.join(CONFIG_NAME);
    let text = config_text(arguments);
    let config = parse_relay(&text, &path)
        .map_err(|error| config_failure(&error))?
        .config;
    let peers = &config.security.authorized_keys_file;
    for file in [&path, &config.key_file, peers] {
        if file.symlink_metadata().is_ok() {
            let message = format!("{} is there already and is not overwritten", file.display());
            return Err(Failure::new(ErrorCode::Conflict, message)
                .with_hint("choose another folder with --dir, or move the file away"));
        }
    }
    let key = create_identity(&config.key_file).map_err(|error| identity_failure(&error))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(peers)
        .map_err(|error| io_failure("write", peers, &error))?;
    create_config(&path, &text).map_err(|error| Failure::new(ErrorCode::Conflict, error.to_string()))?;
    tell(&format!(
        "wrote {}, {} and {}",
        path.display(),
        config.key_file.display(),
        peers.display()
    ));
    tell(&format!(
        "next: `relay-server authorize PEER_ID --config {path}`, then `relay-server --config {path}`",
        path = path.display()
    ));
    print(&format!("{}\n", key.public().to_peer_id()))
}

/// Renders the config. Key and list get names of their own, so that a node may live in the same folder.
fn config_text(arguments: &InitArguments) -> String {
    let template = RelayTemplate {
        listen: arguments.listen.clone(),
        external: arguments.external.clone(),
    };
    render_relay_config(&template)
        .replace("key_file: identity.key", "key_file: relay.key")
        .replace(
            "authorized_keys_file: authorized_keys",
            "authorized_keys_file: relay_authorized_keys",
        )
}

fn io_failure(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        ErrorCode::Failed,
        format!("cannot {doing} {}: {error}", path.display()),
    )
    .with_hint("check that the folder exists and that you may write to it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_relay_do_not_collide_with_those_of_a_node() {
        let arguments = InitArguments {
            dir: "d".into(),
            listen: vec![],
            external: vec![],
        };

        let config = parse_relay(&config_text(&arguments), Path::new("d/relay-server.yaml"))
            .unwrap()
            .config;

        assert_eq!(config.key_file, Path::new("d/relay.key"));
        assert_eq!(
            config.security.authorized_keys_file,
            Path::new("d/relay_authorized_keys")
        );
    }
}
