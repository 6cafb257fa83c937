//! What the operator wants to be told of: the section `alerts`, its rules and where their messages go.
//!
//! A command stands here as the operator's own word and nowhere else; nothing that a peer, a relay or a plugin says becomes
//! a part of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::Duration,
};

use libp2p_identity::PeerId;
use peerup_model::{AlertName, PeerName, PluginName, ServiceName};

use crate::{
    document::Step,
    listed::AllowedPeer,
    raw::{RawAlertRule, RawAlertTarget, RawAlerts},
    values::{self, Reader, at},
};

/// Rules that a config may hold.
pub const MAX_ALERT_RULES: usize = 64;
/// Targets that a config may hold. Each has a task of its own.
pub const MAX_ALERT_TARGETS: usize = 16;
/// Words of a command.
const MAX_WORDS: usize = 64;
/// Characters of a webhook's address.
const MAX_URL: usize = 2048;
/// How long one attempt may take where the config says nothing, and at most.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest window in which refusals are counted.
const MAX_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Most refusals that a rule may wait for.
const MAX_COUNT: u32 = 1_000_000;
/// What the words of `when` are.
pub(crate) const CONDITIONS: [&str; 7] = [
    "peer-away",
    "relay-away",
    "plugin-down",
    "bandwidth",
    "config-reverted",
    "auth-denied",
    "disk-low",
];

/// The section `alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Where messages go.
    pub targets: BTreeMap<AlertName, AlertTarget>,
    /// What they are about.
    pub rules: BTreeMap<AlertName, AlertRule>,
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertTarget {
    /// How they get there.
    pub way: AlertWay,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// How a message gets to its target.
#[derive(Clone, PartialEq, Eq)]
pub enum AlertWay {
    /// POST to this address, which may itself be a secret.
    Webhook {
        /// `http://` or `https://`.
        url: String,
        /// The file with the value of the header `Authorization`.
        authorization_file: Option<PathBuf>,
    },
    /// A program of this machine with its arguments; no shell.
    Command(Vec<String>),
}

impl AlertWay {
    /// Returns it without what may be a secret: the command, or the server of a webhook.
    pub fn shown(&self) -> String {
        match self {
            Self::Command(words) => words.join(" "),
            Self::Webhook { url, .. } => format!("{}/...", server_of(url)),
        }
    }
}

impl fmt::Debug for AlertWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRule {
    /// What is looked at.
    pub condition: AlertCondition,
    /// How long that has to hold before anybody is told. Key `for`.
    pub hold: Duration,
    /// How often it is told again while it lasts; none is once.
    pub repeat: Option<Duration>,
    /// Who is told; all targets where the config says nothing.
    pub notify: BTreeSet<AlertName>,
}

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertCondition {
    /// The peer is not connected.
    PeerAway(AllowedPeer),
    /// No relay holds a reservation.
    RelayAway,
    /// The plugin should run and does not; any one where none is named.
    PluginDown(Option<PluginName>),
    /// More bytes a second pass than this, both directions together.
    Bandwidth {
        /// Whose.
        of: BandwidthOf,
        /// Bytes a second.
        above: u64,
    },
    /// A config was taken back, or another one than the file's is in force.
    ConfigReverted,
    /// The gate refused more connections of strangers than this within that time.
    AuthDenied {
        /// How many are borne.
        more_than: u32,
        /// Within this time.
        within: Duration,
    },
    /// The disk of the config's folder has less room than this, in bytes.
    DiskLow(u64),
}

/// Whose bytes are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BandwidthOf {
    /// All streams.
    Total,
    /// Those of a peer.
    Peer(AllowedPeer),
    /// Those of a service.
    Service(ServiceName),
}

impl AlertCondition {
    /// Returns the word of `when`.
    pub fn word(&self) -> &'static str {
        let [peer, relay, plugin, bandwidth, config, auth, disk] = CONDITIONS;
        match self {
            Self::PeerAway(_) => peer,
            Self::RelayAway => relay,
            Self::PluginDown(_) => plugin,
            Self::Bandwidth { .. } => bandwidth,
            Self::ConfigReverted => config,
            Self::AuthDenied { .. } => auth,
            Self::DiskLow(_) => disk,
        }
    }
}

/// Returns scheme and server of an address.
fn server_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let server = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let server = server.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{server}")
}

/// Resolves what the file says; everything wrong is in the reader afterwards.
pub(crate) fn resolve(
    raw: RawAlerts,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> AlertsConfig {
    let (raw_targets, raw_rules) = (raw.targets.unwrap_or_default(), raw.rules.unwrap_or_default());
    for (key, found, most) in [
        ("targets", raw_targets.len(), MAX_ALERT_TARGETS),
        ("rules", raw_rules.len(), MAX_ALERT_RULES),
    ] {
        if found > most {
            let message = format!("{found} of them, and {most} are the most");
            reader.problem(at!["alerts", key], message);
        }
    }
    let mut targets = BTreeMap::new();
    for (name, raw) in raw_targets {
        let key = reader.take(at!["alerts", "targets", &name], values::parsed(&name));
        let target = target(&name, raw.unwrap_or_default(), reader);
        targets.extend(key.zip(target));
    }
    let mut rules = BTreeMap::new();
    for (name, raw) in raw_rules {
        let key = reader.take(at!["alerts", "rules", &name], values::parsed(&name));
        let rule = rule(&name, raw.unwrap_or_default(), (&targets, names), reader);
        rules.extend(key.zip(rule));
    }
    AlertsConfig { targets, rules }
}

fn target(name: &String, raw: RawAlertTarget, reader: &mut Reader<'_>) -> Option<AlertTarget> {
    let here: &[Step] = at!["alerts", "targets", name];
    let below = |key: &str| [here, at![key]].concat();
    let timeout = reader.duration(&below("timeout"), raw.timeout, DEFAULT_TIMEOUT);
    if timeout > MAX_TIMEOUT {
        reader.problem(&below("timeout"), "is longer than 5 minutes, the most");
    }
    let file = reader.optional_file(&below("authorization_file"), raw.authorization_file);
    let way = match (raw.webhook, raw.command) {
        (Some(url), None) => AlertWay::Webhook {
            url: reader.take(&below("webhook"), checked_url(url))?,
            authorization_file: file,
        },
        (None, Some(_)) if file.is_some() => {
            reader.problem(
                &below("authorization_file"),
                "is for a webhook, and this is a command",
            );
            return None;
        }
        (None, Some(words)) => AlertWay::Command(reader.take(&below("command"), checked_command(words))?),
        (Some(_), Some(_)) => {
            reader.problem(here, "has a webhook and a command; make two targets of it");
            return None;
        }
        (None, None) => {
            reader.problem(here, "needs webhook: URL, or command: [PROGRAM, ARGUMENT...]");
            return None;
        }
    };
    Some(AlertTarget { way, timeout })
}

fn checked_url(url: String) -> Result<String, String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let fits = |c: char| c.is_ascii_graphic();
    match rest {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') => {}
        // Not repeated: it may be a secret.
        _ => return Err("is not an address that begins with https:// or http://".to_owned()),
    }
    if url.ends_with("/...") {
        return Err("was cut, as it is where configs are shown; write the whole address".to_owned());
    }
    if server_of(&url) != url.split(['/', '?', '#']).take(3).collect::<Vec<_>>().join("/") {
        return Err("has a user and a password in it; write them into the authorization_file".to_owned());
    }
    match url.len() <= MAX_URL && url.chars().all(fits) {
        true => Ok(url),
        false => Err(format!(
            "is longer than {MAX_URL} characters, or has characters that no address has"
        )),
    }
}

fn checked_command(words: Vec<String>) -> Result<Vec<String>, String> {
    match words.first() {
        None => Err("is empty; write [PROGRAM, ARGUMENT...]".to_owned()),
        Some(program) if !program.starts_with('/') => Err(format!(
            "{program:?} is not a whole path: which program that is must not depend on PATH"
        )),
        Some(_) if words.len() > MAX_WORDS => Err(format!("has more than {MAX_WORDS} words")),
        Some(_) if words.iter().any(|word| word.contains('\0')) => Err("has a zero byte in it".to_owned()),
        Some(_) => Ok(words),
    }
}

fn rule(
    name: &String,
    mut raw: RawAlertRule,
    (targets, names): (&BTreeMap<AlertName, AlertTarget>, &BTreeMap<PeerName, PeerId>),
    reader: &mut Reader<'_>,
) -> Option<AlertRule> {
    let here: &[Step] = at!["alerts", "rules", name];
    let below = |key: &str| [here, at![key]].concat();
    let hold = raw
        .hold
        .take()
        .and_then(|text| reader.take(&below("for"), values::duration(&text)));
    let repeat = raw
        .repeat
        .take()
        .map(|text| reader.duration(&below("repeat"), Some(text), Duration::MAX));
    let notify = match raw.notify.take() {
        None => targets.keys().cloned().collect(),
        Some(listed) => {
            let listed = reader.list(&below("notify"), &listed, values::parsed::<AlertName>);
            for unknown in listed.iter().filter(|target| !targets.contains_key(*target)) {
                let message = format!("{unknown} is no target; add alerts.targets.{unknown}");
                reader.problem(&below("notify"), message);
            }
            listed.into_iter().collect()
        }
    };
    let condition = condition(name, raw, names, reader);
    Some(AlertRule {
        condition: condition?,
        hold: hold.unwrap_or_default(),
        repeat,
        notify,
    })
}

/// Reads `when` with the keys that it takes; others are refused.
fn condition(
    name: &String,
    raw: RawAlertRule,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> Option<AlertCondition> {
    let here: &[Step] = at!["alerts", "rules", name];
    let below = |key: &str| [here, at![key]].concat();
    let Some(when) = raw.when else {
        reader.problem(here, format!("when is missing: one of {}", CONDITIONS.join(", ")));
        return None;
    };
    let takes: &[&str] = match when.as_str() {
        "peer-away" => &["peer"],
        "plugin-down" => &["plugin"],
        "bandwidth" => &["peer", "service", "above"],
        "auth-denied" => &["more_than", "within"],
        "disk-low" => &["below"],
        "relay-away" | "config-reverted" => &[],
        _ => {
            let message = format!("{when:?} is none of {}", CONDITIONS.join(", "));
            reader.problem(&below("when"), message);
            return None;
        }
    };
    for (key, is_there) in [
        ("peer", raw.peer.is_some()),
        ("plugin", raw.plugin.is_some()),
        ("service", raw.service.is_some()),
        ("above", raw.above.is_some()),
        ("below", raw.below.is_some()),
        ("more_than", raw.more_than.is_some()),
        ("within", raw.within.is_some()),
    ] {
        if is_there && !takes.contains(&key) {
            reader.problem(&below(key), format!("means nothing for {when}"));
        }
    }
    let peer = raw
        .peer
        .and_then(|text| reader.take(&below("peer"), values::parsed::<AllowedPeer>(&text)));
    if let Some(unknown) = peer.as_ref().and_then(|peer| peer.unknown_name(names)) {
        let message = format!("{unknown} is not in names: this rule is about nobody");
        reader.warning(&below("peer"), message);
    }
    let missing = |reader: &mut Reader<'_>, key: &str| {
        reader.problem(here, format!("{key} is missing: {when} needs it"));
    };
    let size = |reader: &mut Reader<'_>, key: &str, text: Option<String>| match text {
        None => {
            missing(reader, key);
            None
        }
        Some(text) => {
            let found = values::size(&text).and_then(|size| match size {
                0 => Err("has to be more than 0".to_owned()),
                size => Ok(size),
            });
            reader.take(&below(key), found)
        }
    };
    match when.as_str() {
        "peer-away" => {
            if peer.is_none() {
                missing(reader, "peer");
            }
            peer.map(AlertCondition::PeerAway)
        }
        "relay-away" => Some(AlertCondition::RelayAway),
        "plugin-down" => {
            let plugin = raw.plugin;
            let plugin = plugin.and_then(|text| reader.take(&below("plugin"), values::parsed(&text)));
            Some(AlertCondition::PluginDown(plugin))
        }
        "config-reverted" => Some(AlertCondition::ConfigReverted),
        "auth-denied" => {
            let more_than = reader.count(&below("more_than"), raw.more_than, 20, MAX_COUNT);
            let within = reader.duration(&below("within"), raw.within, Duration::from_secs(60));
            if within > MAX_WITHIN {
                reader.problem(&below("within"), "is longer than 24 hours, the most");
            }
            Some(AlertCondition::AuthDenied { more_than, within })
        }
        "disk-low" => size(reader, "below", raw.below).map(AlertCondition::DiskLow),
        _ => {
            let service = raw.service;
            let service = service.and_then(|text| reader.take(&below("service"), values::parsed(&text)));
            let of = match (peer, service) {
                (None, None) => BandwidthOf::Total,
                (Some(peer), None) => BandwidthOf::Peer(peer),
                (None, Some(service)) => BandwidthOf::Service(service),
                (Some(_), Some(_)) => {
                    reader.problem(here, "has a peer and a service; make two rules of it");
                    return None;
                }
            };
            let above = size(reader, "above", raw.above)?;
            Some(AlertCondition::Bandwidth { of, above })
        }
    }
}
