//! `init`: makes the config, the key and an empty authorized_keys, all in one folder.

mod wizard;

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use libp2p_identity::PeerId;
use peerup_config::{NodeTemplate, RelayAddress};
use peerup_model::{ErrorCode, Failure, PeerName};

use super::{failed, usage};
use crate::{arguments::Init, context::Context, output};

/// The config's name in its folder.
const CONFIG_FILE: &str = "config.yaml";
/// The port of a relay that was given without one.
const RELAY_PORT: u16 = 7777;
/// How often to look for a port that is free for TCP and UDP alike.
const PORT_TRIES: usize = 32;

pub(crate) async fn run(context: &Context, arguments: Init) -> Result<(), Failure> {
    let path = target(context, arguments.dir.as_deref())?;
    if path.exists() {
        return Err(exists(&path));
    }
    let made = if !arguments.non_interactive && context.may_ask() {
        let wishes = wizard::ask(context, arguments, &path).await?;
        let name = wishes.name.as_ref().map(PeerName::as_str);
        make(&path, name, wishes.port, wishes.relays)?
    } else {
        let relays = read_relays(&arguments.relays, arguments.relay_id.as_deref())?;
        make(&path, arguments.name.as_deref(), arguments.port, relays)?
    };
    report(context, &made)
}

fn read_relays(relays: &[String], id: Option<&str>) -> Result<Vec<RelayAddress>, Failure> {
    relays.iter().map(|relay| read_relay(relay, id)).collect()
}

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    /// The config file.
    pub(super) path: PathBuf,
    peer_id: PeerId,
    port: u16,
    has_relay: bool,
}

/// Returns the config's path for a folder that was named, or the usual one.
pub(super) fn target(context: &Context, dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match (dir, context.named_config()) {
        (Some(dir), _) => dir.join(CONFIG_FILE),
        (None, Some(named)) => named.to_owned(),
        (None, None) => Context::places()
            .user_folder()
            .ok_or_else(|| usage("neither HOME nor XDG_CONFIG_HOME is set; name a folder with --dir"))?
            .join(CONFIG_FILE),
    };
    std::path::absolute(&path).map_err(|error| failed(format!("{}: {error}", path.display())))
}

/// Makes config, key and authorized_keys. Refuses to overwrite any of them.
pub(super) fn make(
    path: &Path,
    name: Option<&str>,
    port: Option<u16>,
    relays: Vec<RelayAddress>,
) -> Result<Made, Failure> {
    let name: Option<PeerName> = name
        .map(|name| name.to_ascii_lowercase().parse())
        .transpose()
        .map_err(|error: peerup_model::NameError| usage(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| failed(format!("the folder {} cannot be made: {error}", folder.display())))?;
    let (key_file, keys_file) = (folder.join("identity.key"), folder.join("authorized_keys"));
    if let Some(found) = [path, &key_file, &keys_file]
        .into_iter()
        .find(|file| file.exists())
    {
        return Err(exists(found));
    }
    // Port 0 would be another one at each start; one is chosen once and written down instead.
    let port = match port.filter(|port| *port != 0) {
        Some(port) => port,
        None => free_port()?,
    };
    let has_relay = !relays.is_empty();
    let text = peerup_config::render_node_config(&NodeTemplate { name, port, relays });
    let keypair = peerup_trust::create_identity(&key_file).map_err(|error| failed(error.to_string()))?;
    write_new(&keys_file, KEYS_HEADER)?;
    // Last: a config that is there says that all of it is.
    peerup_config::create_config(path, &text).map_err(|error| failed(error.to_string()))?;
    Ok(Made {
        path: path.to_owned(),
        peer_id: keypair.public().to_peer_id(),
        port,
        has_relay,
    })
}

const KEYS_HEADER: &str = "\
# Who may connect to this node, a line each:
# PEER_ID [expires=RFC3339] [services=a,b] [role=member|admin] [# comment]
";

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| failed(format!("{} cannot be written: {error}", path.display())))
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        ErrorCode::Conflict,
        format!("{} exists already and stays as it is", path.display()),
    )
    .with_hint("choose another folder with --dir, or move it away if you want to begin anew")
}

fn report(context: &Context, made: &Made) -> Result<(), Failure> {
    if context.json {
        return output::json(&serde_json::json!({
            "peer_id": made.peer_id.to_base58(), "config": made.path, "port": made.port,
        }));
    }
    context.note(&format!("made {}", made.path.display()));
    output::line(made.peer_id)?;
    if !made.has_relay {
        context.note("next: add a relay with `peerup relay add`, or join one that you were invited to with `peerup join`");
    }
    context.note("next: start it with `peerup daemon`, offer something with `peerup service add`, pair with `peerup invite`");
    Ok(())
}

/// Reads a relay as a full multiaddr, or as HOST[:PORT] with the peer id beside it.
pub(super) fn read_relay(text: &str, id: Option<&str>) -> Result<RelayAddress, Failure> {
    if text.starts_with('/') {
        return text
            .parse()
            .map_err(|error| usage(format!("the relay {text}: {error}")));
    }
    let id = id.ok_or_else(|| {
        usage(format!("the relay {text} needs its peer id"))
            .with_hint("add --relay-id; `relay-server info` prints it")
    })?;
    let (host, port) = split_host(text)?;
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("/ip4/{ip}"),
        Ok(IpAddr::V6(ip)) => format!("/ip6/{ip}"),
        Err(_) => format!("/dns/{host}"),
    };
    let full = format!("{host}/tcp/{port}/p2p/{id}");
    full.parse()
        .map_err(|error| usage(format!("the relay {text} with the id {id}: {error}")))
}

fn split_host(text: &str) -> Result<(&str, u16), Failure> {
    let refused = || {
        usage(format!(
            "the relay {text:?} is neither a multiaddr nor HOST[:PORT]"
        ))
    };
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, RELAY_PORT));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(refused)?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Err(refused());
    }
    let port = port.map_or(Ok(RELAY_PORT), str::parse).map_err(|_| refused())?;
    Ok((host, port))
}

/// Whether a port is free for TCP and UDP now.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Finds a port that is free for TCP and UDP now. Somebody may take it before the daemon starts, which then
/// says so.
fn free_port() -> Result<u16, Failure> {
    for _ in 0..PORT_TRIES {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let Ok(port) = TcpListener::bind(any).and_then(|listener| Ok(listener.local_addr()?.port())) else {
            continue;
        };
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(failed("no free port was found").with_hint("choose one with --port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    #[test]
    fn a_relay_is_a_multiaddr_or_a_host_with_an_id() {
        for (text, full) in [
            ("203.0.113.5", "/ip4/203.0.113.5/tcp/7777"),
            ("203.0.113.5:80", "/ip4/203.0.113.5/tcp/80"),
            ("2001:db8::1", "/ip6/2001:db8::1/tcp/7777"),
            ("[2001:db8::1]:80", "/ip6/2001:db8::1/tcp/80"),
            ("relay.example", "/dns/relay.example/tcp/7777"),
            ("relay.example:443", "/dns/relay.example/tcp/443"),
        ] {
            let relay = read_relay(text, Some(ID)).unwrap();
            assert_eq!(relay.address().to_string(), format!("{full}/p2p/{ID}"), "{text}");
        }
        assert!(read_relay(&format!("/ip4/203.0.113.5/udp/7777/quic-v1/p2p/{ID}"), None).is_ok());
    }

    #[test]
    fn a_relay_that_makes_no_sense_is_refused() {
        for (text, id) in [
            ("203.0.113.5", None),
            ("/ip4/203.0.113.5/tcp/7777", None),
            ("relay.example:port", Some(ID)),
            ("relay.example", Some("nobody")),
            ("", Some(ID)),
        ] {
            assert_eq!(
                read_relay(text, id).unwrap_err().code,
                ErrorCode::Invalid,
                "{text}"
            );
        }
    }

    #[test]
    fn port_zero_is_a_free_port_that_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONFIG_FILE);
        let made = make(&path, None, Some(0), Vec::new()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_ne!(made.port, 0);
        assert!(
            text.contains(&format!("tcp/{}", made.port)) && !text.contains("tcp/0"),
            "{text}"
        );
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONFIG_FILE);
        make(&path, Some("one"), None, Vec::new()).unwrap();
        let before = std::fs::read(folder.path().join("identity.key")).unwrap();
        std::fs::remove_file(&path).unwrap();

        assert_eq!(
            make(&path, Some("two"), None, Vec::new()).unwrap_err().code,
            ErrorCode::Conflict
        );

        assert_eq!(std::fs::read(folder.path().join("identity.key")).unwrap(), before);
        assert!(!path.exists());
    }
}
