//! The one place where grants are checked, below the bindings of every version of the contract.
//!
//! Deny is the default. A denial is counted, logged, and says which line of YAML would grant what was asked.

use std::{net::SocketAddr, sync::Arc};

use peerup_model::{AddressClass, AddressPattern, Grants, PluginName, ProtocolPattern, may_lead_to};

use crate::{audit::RunKind, error::HostError, stats::Counters};

/// The longest address, name or protocol that a plugin may pass.
const MAX_ASKED_BYTES: usize = 300;

/// What one instance may do: its plugin's grants as they stand now, and what its run was given on top.
pub(crate) struct Access {
    plugin: PluginName,
    grants: Arc<arc_swap::ArcSwap<Grants>>,
    extra: Grants,
    /// The local address of the service that this instance serves.
    service: Option<String>,
    counters: Arc<Counters>,
    run: RunKind,
}

/// The patterns that an address is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    TcpConnect,
    TcpListen,
    UdpBind,
    UdpConnect,
}

impl Reach {
    fn key(self) -> &'static str {
        match self {
            Self::TcpConnect => "tcp.connect",
            Self::TcpListen => "tcp.listen",
            Self::UdpBind => "udp.bind",
            Self::UdpConnect => "udp.connect",
        }
    }

    /// The word between the key and the address in a denial.
    fn preposition(self) -> &'static str {
        match self {
            Self::TcpConnect | Self::UdpConnect | Self::UdpBind => "to",
            Self::TcpListen => "on",
        }
    }

    fn patterns(self, grants: &Grants) -> &[AddressPattern] {
        match self {
            Self::TcpConnect => &grants.tcp.connect,
            Self::TcpListen => &grants.tcp.listen,
            Self::UdpBind => &grants.udp.bind,
            Self::UdpConnect => &grants.udp.connect,
        }
    }
}

/// A question to the grants, with what a denial says.
struct Asked<'a> {
    /// The key below `grants`.
    key: &'static str,
    what: &'a dyn Fn() -> String,
    /// What the line of YAML says after the key; none where no line grants it.
    value: &'a dyn Fn() -> Option<String>,
}

impl Access {
    pub(crate) fn new(
        plugin: PluginName,
        grants: Arc<arc_swap::ArcSwap<Grants>>,
        extra: Grants,
        counters: Arc<Counters>,
        run: RunKind,
    ) -> Self {
        Self {
            plugin,
            grants,
            extra,
            service: None,
            counters,
            run,
        }
    }

    /// Adds the local address of the service that this instance serves: writing the service into the config
    /// granted it.
    pub(crate) fn grant_service(&mut self, local_address: &str) {
        self.service = Some(local_address.to_owned());
        match local_address.parse::<AddressPattern>() {
            Ok(pattern) => self.extra.tcp.connect.push(pattern),
            Err(error) => {
                tracing::warn!(plugin = %self.plugin, %error, "the service's local address grants nothing")
            }
        }
    }

    /// Whether this run may name a peer so. A resolver gives whole peer ids only: any other name would be asked of the
    /// chain that it is part of.
    pub(crate) fn names_peer(&self, peer: &str) -> Result<(), HostError> {
        if self.run == RunKind::Resolver && peer.parse::<libp2p_identity::PeerId>().is_err() {
            return Err(HostError::Invalid(
                "a resolver names peers by their whole ids: other names are asked of itself".to_owned(),
            ));
        }
        Ok(())
    }

    /// What kind of run this is.
    pub(crate) fn run(&self) -> RunKind {
        self.run
    }

    /// Whether the plugin may reach `host:port` in this way.
    pub(crate) fn address(&self, reach: Reach, target: &str) -> Result<(), HostError> {
        check_address(target)?;
        let allowed = |grants: &Grants| {
            reach
                .patterns(grants)
                .iter()
                .any(|pattern| pattern.matches(target))
        };
        self.decide(
            allowed,
            &Asked {
                key: reach.key(),
                what: &|| format!("{} {} {target}", reach.key(), reach.preposition()),
                value: &|| Some(format!("[{}]", quoted(target))),
            },
        )
    }

    /// Whether a granted `host:port` may lead to this address. A name that was granted never leads to this machine,
    /// the link or a cloud's metadata unseen.
    pub(crate) fn leads_to(&self, reach: Reach, target: &str, address: SocketAddr) -> Result<(), HostError> {
        let grants = self.grants.load();
        let patterns = reach.patterns(&grants).iter().chain(reach.patterns(&self.extra));
        let Err(class) = may_lead_to(patterns, address) else {
            return Ok(());
        };
        // The operator wrote this very address, and a machine's own name often leads to its loopback.
        let own = reach == Reach::TcpConnect && self.service.as_deref() == Some(target);
        if own && class == AddressClass::Loopback {
            return Ok(());
        }
        let plugin = &self.plugin;
        let text = format!(
            "{target} leads to {address}, {class}, which a host name does not grant to the plugin {plugin}; to allow it, \
             write in the config: plugins.{plugin}.grants.{}: [{}]",
            reach.key(),
            quoted(&address.to_string())
        );
        self.counters.count_denial(&text);
        Err(HostError::Denied(text))
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
        self.decide(
            allowed,
            &Asked {
                key: "protocols",
                what: &|| format!("{doing} {protocol}"),
                value: &|| grantable.then(|| format!("[{}]", quoted(protocol))),
            },
        )
    }

    /// Whether the plugin may ask who a name stands for.
    pub(crate) fn resolve(&self, name: &str) -> Result<(), HostError> {
        bounded(name)?;
        self.decide(
            Grants::allows_resolve,
            &Asked {
                key: "names",
                what: &|| format!("names.resolve of {}", quoted(name)),
                value: &|| Some("[resolve]".to_owned()),
            },
        )
    }

    /// Whether the plugin may look one of the operator's own names up.
    pub(crate) fn find_name(&self, name: &str) -> Result<(), HostError> {
        bounded(name)?;
        self.name_list(&|| format!("name-list.find of {}", quoted(name)))
    }

    /// Whether the plugin may see all of the operator's own names.
    pub(crate) fn list_names(&self) -> Result<(), HostError> {
        self.name_list(&|| "name-list.entries".to_owned())
    }

    fn name_list(&self, what: &dyn Fn() -> String) -> Result<(), HostError> {
        self.decide(
            Grants::allows_listing_names,
            &Asked {
                key: "names",
                what,
                value: &|| Some("[list]".to_owned()),
            },
        )
    }

    /// Whether the plugin may see one peer and the ways to it.
    pub(crate) fn describe_peer(&self, peer: &str) -> Result<(), HostError> {
        bounded(peer)?;
        self.read_peers(&|| format!("peers.describe of {}", quoted(peer)))
    }

    /// Whether the plugin may see who is connected.
    pub(crate) fn list_peers(&self) -> Result<(), HostError> {
        self.read_peers(&|| "peers.connected".to_owned())
    }

    /// Whether the plugin may be told what happens to peers.
    pub(crate) fn subscribe(&self) -> Result<(), HostError> {
        self.read_peers(&|| "events.subscribe".to_owned())
    }

    fn read_peers(&self, what: &dyn Fn() -> String) -> Result<(), HostError> {
        self.decide(
            Grants::allows_reading_peers,
            &Asked {
                key: "peers",
                what,
                value: &|| Some("[read]".to_owned()),
            },
        )
    }

    /// How large the plugin's store may be, in bytes, if it may have one.
    pub(crate) fn store(&self, doing: &str) -> Result<u64, HostError> {
        self.decide(
            Grants::allows_store,
            &Asked {
                key: "store",
                what: &|| format!("store.{doing}"),
                value: &|| Some("10MB".to_owned()),
            },
        )?;
        let granted = self.grants.load().store.max(self.extra.store);
        Ok(granted.map_or(0, peerup_model::ByteSize::bytes))
    }

    /// Whether the plugin may see the addresses of peers too. Without it they are left out, which is no
    /// denial.
    pub(crate) fn sees_addresses(&self) -> bool {
        self.now().allows_peer_addresses()
    }

    /// Everything that is granted now, to the plugin and to this run.
    pub(crate) fn now(&self) -> Grants {
        self.grants.load().extended_with(&self.extra)
    }

    fn decide(&self, allowed: impl Fn(&Grants) -> bool, asked: &Asked<'_>) -> Result<(), HostError> {
        if allowed(&self.grants.load()) || allowed(&self.extra) {
            self.counters.auditor.used(asked.key, asked.what, self.run);
            return Ok(());
        }
        let (plugin, what) = (&self.plugin, (asked.what)());
        let text = match (asked.value)() {
            Some(value) => format!(
                "{what} is not granted to the plugin {plugin}; to allow it, write in the config: plugins.{plugin}.grants.{}: {value}",
                asked.key
            ),
            None => {
                format!("{what} is not open to the plugin {plugin}: the protocol belongs to peerup itself")
            }
        };
        self.counters.count_denial(&text);
        Err(HostError::Denied(text))
    }
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
    use peerup_model::{NameGrant, PeerGrant};
    use proptest::prelude::*;

    use super::*;

    fn access(grants: Grants) -> Access {
        let name: PluginName = "tcp-proxy".parse().unwrap();
        let counters = Counters::plain(name.clone());
        Access::new(
            name,
            Arc::new(ArcSwap::from_pointee(grants)),
            Grants::default(),
            counters,
            RunKind::Command,
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
            denied(access.address(Reach::TcpConnect, "10.0.0.5:22")),
            "tcp.connect to 10.0.0.5:22 is not granted to the plugin tcp-proxy; to allow it, write in the config: \
             plugins.tcp-proxy.grants.tcp.connect: [\"10.0.0.5:22\"]"
        );
        assert!(
            denied(access.address(Reach::TcpListen, "127.0.0.1:0"))
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
        assert!(
            denied(access.address(Reach::UdpBind, "0.0.0.0:53"))
                .ends_with("grants.udp.bind: [\"0.0.0.0:53\"]")
        );
        assert!(
            denied(access.address(Reach::UdpConnect, "dns.lan:53"))
                .ends_with("grants.udp.connect: [\"dns.lan:53\"]")
        );
        assert!(denied(access.store("get").map(drop)).ends_with("plugins.tcp-proxy.grants.store: 10MB"));
        assert!(denied(access.subscribe()).ends_with("plugins.tcp-proxy.grants.peers: [read]"));
        assert!(denied(access.find_name("x")).ends_with("plugins.tcp-proxy.grants.names: [list]"));
        assert!(denied(access.list_names()).ends_with("plugins.tcp-proxy.grants.names: [list]"));
        assert_eq!(access.counters.snapshot().denials, 12);
    }

    #[test]
    fn what_the_line_says_grants_what_was_asked() {
        let granted = access(Grants {
            protocols: vec!["/peerup/web/1.0.0".parse().unwrap()],
            tcp: peerup_model::TcpGrants {
                connect: vec!["10.0.0.5:22".parse().unwrap()],
                listen: vec!["127.0.0.1:0".parse().unwrap()],
            },
            udp: peerup_model::UdpGrants {
                bind: vec!["0.0.0.0:53".parse().unwrap()],
                connect: vec!["dns.lan:53".parse().unwrap()],
            },
            store: Some("10MB".parse().unwrap()),
            names: vec![NameGrant::Resolve, NameGrant::List],
            peers: vec![PeerGrant::Read],
            ..Grants::default()
        });
        granted.address(Reach::TcpConnect, "10.0.0.5:22").unwrap();
        granted.address(Reach::TcpListen, "127.0.0.1:0").unwrap();
        granted.protocol("opening", "/peerup/web/1.0.0").unwrap();
        granted.resolve("home").unwrap();
        granted.describe_peer("home").unwrap();
        granted.list_peers().unwrap();
        granted.address(Reach::UdpBind, "0.0.0.0:53").unwrap();
        granted.address(Reach::UdpConnect, "dns.lan:53").unwrap();
        assert_eq!(granted.store("get"), Ok(10 << 20));
        granted.subscribe().unwrap();
        granted.find_name("x").unwrap();
        granted.list_names().unwrap();
        assert!(!granted.sees_addresses());
        denied(granted.address(Reach::TcpConnect, "10.0.0.5:23"));
    }

    #[test]
    fn a_service_grants_its_own_address_only() {
        let mut access = access(Grants::default());
        access.grant_service("localhost:80");
        access.address(Reach::TcpConnect, "localhost:80").unwrap();
        denied(access.address(Reach::TcpConnect, "localhost:81"));
        denied(access.address(Reach::TcpListen, "localhost:80"));
    }

    #[test]
    fn a_granted_name_does_not_lead_to_this_machine_but_a_granted_address_and_localhost_do() {
        let mut access = access(Grants::default());
        access.grant_service("db.lan:80");
        access
            .leads_to(Reach::TcpConnect, "db.lan:80", "127.0.1.1:80".parse().unwrap())
            .unwrap();
        access.grant_service("localhost:81");
        let leads = |target: &str, to: &str| access.leads_to(Reach::TcpConnect, target, to.parse().unwrap());
        leads("db.lan:80", "10.0.0.1:80").unwrap();
        leads("localhost:81", "127.0.0.1:81").unwrap();
        leads("localhost:81", "[::1]:81").unwrap();
        assert_eq!(
            denied(leads("db.lan:80", "169.254.169.254:80")),
            "db.lan:80 leads to 169.254.169.254:80, a cloud's metadata address, which a host name does not grant to the \
             plugin tcp-proxy; to allow it, write in the config: plugins.tcp-proxy.grants.tcp.connect: \
             [\"169.254.169.254:80\"]"
        );
        denied(leads("localhost:81", "[fe80::1]:81"));
        let mut named = Grants::default();
        named.tcp.connect = vec!["db.lan:80".parse().unwrap()];
        let access = self::access(named);
        denied(access.leads_to(Reach::TcpConnect, "db.lan:80", "127.0.0.1:80".parse().unwrap()));
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
            assert!(
                matches!(access.address(Reach::TcpConnect, bad), Err(HostError::Invalid(_))),
                "{bad}"
            );
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
            prop_assert!(access.address(Reach::TcpConnect, &text).is_err());
            prop_assert!(access.address(Reach::TcpListen, &text).is_err());
            prop_assert!(access.resolve(&text).is_err());
            prop_assert!(access.describe_peer(&text).is_err());
        }
    }
}
