//! The one place where grants are checked, below the bindings of every version of the contract.
//!
//! Deny is the default. A denial is counted, logged, and says which line of YAML would grant what was asked.

use std::sync::Arc;

use peerup_model::{AddressPattern, Grants, NameGrant, PluginName, ProtocolPattern};

use crate::{error::HostError, stats::Counters};

/// The longest address, name or protocol that a plugin may pass.
const MAX_ASKED_BYTES: usize = 300;

/// What one instance may do: its plugin's grants as they stand now, and what its run was given on top.
pub(crate) struct Access {
    plugin: PluginName,
    grants: Arc<arc_swap::ArcSwap<Grants>>,
    extra: Grants,
    counters: Arc<Counters>,
}

impl Access {
    pub(crate) fn new(
        plugin: PluginName,
        grants: Arc<arc_swap::ArcSwap<Grants>>,
        extra: Grants,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            plugin,
            grants,
            extra,
            counters,
        }
    }

    /// Adds the local address of the service that this instance serves: writing the service into the config
    /// granted it.
    pub(crate) fn grant_service(&mut self, local_address: &str) {
        match local_address.parse::<AddressPattern>() {
            Ok(pattern) => self.extra.tcp.connect.push(pattern),
            Err(error) => {
                tracing::warn!(plugin = %self.plugin, %error, "the service's local address grants nothing")
            }
        }
    }

    /// Whether the plugin may connect to `host:port`.
    pub(crate) fn connect(&self, target: &str) -> Result<(), HostError> {
        check_address(target)?;
        let allowed = |grants: &Grants| grants.allows_connect(target);
        self.decide(allowed, || {
            (
                format!("tcp.connect to {target}"),
                line("tcp.connect", &quoted(target)),
            )
        })
    }

    /// Whether the plugin may listen on `address:port`.
    pub(crate) fn listen(&self, address: &str) -> Result<(), HostError> {
        check_address(address)?;
        let allowed = |grants: &Grants| grants.allows_listen(address);
        self.decide(allowed, || {
            (
                format!("tcp.listen on {address}"),
                line("tcp.listen", &quoted(address)),
            )
        })
    }

    /// Whether the plugin may open or serve this protocol.
    pub(crate) fn protocol(&self, doing: &str, protocol: &str) -> Result<(), HostError> {
        bounded(protocol)?;
        let pattern = protocol
            .parse::<ProtocolPattern>()
            .ok()
            .filter(|_| !protocol.contains('*'))
            .ok_or_else(|| HostError::Invalid(format!("{} is not a protocol id", quoted(protocol))))?;
        let allowed = |grants: &Grants| grants.allows_protocol(self.plugin.as_str(), protocol);
        let grantable = pattern.matches(protocol);
        self.decide(allowed, || {
            let what = format!("{doing} {protocol}");
            match grantable {
                true => (what, line("protocols", &quoted(protocol))),
                false => (what, None),
            }
        })
    }

    /// Whether the plugin may ask who a name stands for.
    pub(crate) fn resolve(&self, name: &str) -> Result<(), HostError> {
        bounded(name)?;
        let allowed = |grants: &Grants| grants.names.contains(&NameGrant::Resolve);
        self.decide(allowed, || {
            (
                format!("names.resolve of {}", quoted(name)),
                line("names", "resolve"),
            )
        })
    }

    /// Whether the plugin may see one peer and the ways to it.
    pub(crate) fn describe_peer(&self, peer: &str) -> Result<(), HostError> {
        bounded(peer)?;
        self.read_peers(|| format!("peers.describe of {}", quoted(peer)))
    }

    /// Whether the plugin may see who is connected.
    pub(crate) fn list_peers(&self) -> Result<(), HostError> {
        self.read_peers(|| "peers.connected".to_owned())
    }

    fn read_peers(&self, what: impl FnOnce() -> String) -> Result<(), HostError> {
        self.decide(Grants::allows_reading_peers, || (what(), line("peers", "read")))
    }

    /// Whether the plugin may see the addresses of peers too. Without it they are left out, which is no
    /// denial.
    pub(crate) fn sees_addresses(&self) -> bool {
        self.grants
            .load()
            .extended_with(&self.extra)
            .allows_peer_addresses()
    }

    fn decide(
        &self,
        allowed: impl Fn(&Grants) -> bool,
        asked: impl FnOnce() -> (String, Option<String>),
    ) -> Result<(), HostError> {
        if allowed(&self.grants.load()) || allowed(&self.extra) {
            return Ok(());
        }
        let (what, line) = asked();
        let plugin = &self.plugin;
        let text = match line {
            Some(line) => format!(
                "{what} is not granted to the plugin {plugin}; to allow it, write in the config: plugins.{plugin}.grants.{line}"
            ),
            None => {
                format!("{what} is not open to the plugin {plugin}: the protocol belongs to peerup itself")
            }
        };
        self.counters.count_denial(&text);
        Err(HostError::Denied(text))
    }
}

fn line(key: &str, value: &str) -> Option<String> {
    Some(format!("{key}: [{value}]"))
}

/// JSON's quoting is YAML's too, and leaves no control character in a log line.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn bounded(text: &str) -> Result<(), HostError> {
    if text.len() > MAX_ASKED_BYTES {
        return Err(HostError::Invalid(format!(
            "a text of {} bytes where at most {MAX_ASKED_BYTES} make sense",
            text.len()
        )));
    }
    Ok(())
}

fn check_address(text: &str) -> Result<(), HostError> {
    bounded(text)?;
    let is_pattern = text.parse::<AddressPattern>().is_ok();
    let has_port = text
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let plain = !text.contains(|letter: char| letter.is_control() || letter == '*');
    if is_pattern && has_port && plain {
        return Ok(());
    }
    Err(HostError::Invalid(format!("{} is not host:port", quoted(text))))
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use peerup_model::PeerGrant;
    use proptest::prelude::*;

    use super::*;

    fn access(grants: Grants) -> Access {
        let name: PluginName = "tcp-proxy".parse().unwrap();
        let counters = Counters::new(name.clone());
        Access::new(
            name,
            Arc::new(ArcSwap::from_pointee(grants)),
            Grants::default(),
            counters,
        )
    }

    fn denied(outcome: Result<(), HostError>) -> String {
        match outcome {
            Err(HostError::Denied(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_denial_says_who_asked_for_what_and_which_line_grants_it() {
        let access = access(Grants::default());
        assert_eq!(
            denied(access.connect("10.0.0.5:22")),
            "tcp.connect to 10.0.0.5:22 is not granted to the plugin tcp-proxy; to allow it, write in the config: \
             plugins.tcp-proxy.grants.tcp.connect: [\"10.0.0.5:22\"]"
        );
        assert!(
            denied(access.listen("127.0.0.1:0"))
                .ends_with("plugins.tcp-proxy.grants.tcp.listen: [\"127.0.0.1:0\"]")
        );
        assert!(
            denied(access.protocol("opening", "/peerup/web/1.0.0"))
                .ends_with("plugins.tcp-proxy.grants.protocols: [\"/peerup/web/1.0.0\"]")
        );
        assert!(denied(access.resolve("home")).ends_with("plugins.tcp-proxy.grants.names: [resolve]"));
        assert!(denied(access.describe_peer("home")).ends_with(
            "peers.describe of \"home\" is not granted to the plugin tcp-proxy; to allow it, write in the config: \
             plugins.tcp-proxy.grants.peers: [read]"
        ));
        assert!(denied(access.list_peers()).ends_with("plugins.tcp-proxy.grants.peers: [read]"));
        assert_eq!(access.counters.snapshot().denials, 6);
    }

    #[test]
    fn what_the_line_says_grants_what_was_asked() {
        let granted = access(Grants {
            protocols: vec!["/peerup/web/1.0.0".parse().unwrap()],
            tcp: peerup_model::TcpGrants {
                connect: vec!["10.0.0.5:22".parse().unwrap()],
                listen: vec!["127.0.0.1:0".parse().unwrap()],
            },
            names: vec![NameGrant::Resolve],
            peers: vec![PeerGrant::Read],
        });
        granted.connect("10.0.0.5:22").unwrap();
        granted.listen("127.0.0.1:0").unwrap();
        granted.protocol("opening", "/peerup/web/1.0.0").unwrap();
        granted.resolve("home").unwrap();
        granted.describe_peer("home").unwrap();
        granted.list_peers().unwrap();
        assert!(!granted.sees_addresses());
        denied(granted.connect("10.0.0.5:23"));
    }

    #[test]
    fn a_service_grants_its_own_address_only() {
        let mut access = access(Grants::default());
        access.grant_service("localhost:80");
        access.connect("localhost:80").unwrap();
        denied(access.connect("localhost:81"));
        denied(access.listen("localhost:80"));
    }

    #[test]
    fn the_core_is_never_granted() {
        let access = access(Grants::default());
        assert!(
            denied(access.protocol("opening", peerup_model::INVITE_PROTOCOL))
                .contains("belongs to peerup itself")
        );
    }

    #[test]
    fn nonsense_is_invalid_and_not_a_denial() {
        let access = access(Grants::default());
        for bad in [
            "",
            "host",
            "host:",
            "host:99999",
            "*:80",
            "host:1-5",
            "host:*",
            "a b:80",
            &"x".repeat(400),
        ] {
            assert!(matches!(access.connect(bad), Err(HostError::Invalid(_))), "{bad}");
        }
        assert!(matches!(
            access.protocol("opening", "web"),
            Err(HostError::Invalid(_))
        ));
        assert!(matches!(
            access.describe_peer(&"x".repeat(400)),
            Err(HostError::Invalid(_))
        ));
        assert_eq!(access.counters.snapshot().denials, 0);
    }

    proptest! {
        #[test]
        fn nothing_is_granted_by_default(text in ".{0,60}") {
            let access = access(Grants::default());
            prop_assert!(access.connect(&text).is_err());
            prop_assert!(access.listen(&text).is_err());
            prop_assert!(access.resolve(&text).is_err());
            prop_assert!(access.describe_peer(&text).is_err());
        }
    }
}
