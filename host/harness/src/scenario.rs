//! What a scenario file says. Every key is checked before anything runs.

use std::{collections::BTreeMap, time::Duration};

use peerup_model::{Grants, PeerName, ServiceName};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The largest scenario that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The most steps of one scenario.
const MAX_STEPS: usize = 1000;

/// One scenario: the world, and what happens in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in one line.
    #[serde(default)]
    pub summary: String,
    /// What the plugin is granted at both peers.
    #[serde(default)]
    pub(crate) grants: GrantChoice,
    /// Its settings.
    #[serde(default)]
    pub(crate) settings: Map<String, Value>,
    /// What the operators call whom.
    #[serde(default)]
    pub(crate) names: BTreeMap<PeerName, Who>,
    /// Services at `home` that are bound to the plugin.
    #[serde(default)]
    pub(crate) services: BTreeMap<ServiceName, Service>,
    /// What listens in the world.
    #[serde(default)]
    pub(crate) servers: Servers,
    /// How it is between the peers.
    #[serde(default)]
    pub(crate) network: Network,
    /// Decides which datagrams are lost.
    #[serde(default)]
    pub(crate) seed: u64,
    /// What happens, in order.
    pub(crate) steps: Vec<Step>,
}

/// One of the two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Who {
    Laptop,
    Home,
}

impl Who {
    pub(crate) const BOTH: [Self; 2] = [Self::Laptop, Self::Home];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Laptop => "laptop",
            Self::Home => "home",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Laptop => Self::Home,
            Self::Home => Self::Laptop,
        }
    }
}

/// What is granted.
#[derive(Debug, Clone, Default)]
pub(crate) enum GrantChoice {
    /// All that the manifest asks for with values.
    #[default]
    AsDeclared,
    /// These, as in the config.
    These(Box<Grants>),
}

impl<'de> Deserialize<'de> for GrantChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value == "as-declared" {
            return Ok(Self::AsDeclared);
        }
        let grants = serde_json::from_value(value).map_err(|error| {
            serde::de::Error::custom(format!(
                "grants are `as-declared` or a map as in the config: {error}"
            ))
        })?;
        Ok(Self::These(Box::new(grants)))
    }
}

/// A service at `home`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) local_address: String,
}

/// What listens in the world, by `host:port`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Servers {
    pub(crate) tcp: BTreeMap<String, Server>,
    pub(crate) udp: BTreeMap<String, Server>,
}

/// What a server does with whoever connects.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Sent at once.
    pub(crate) greeting: Option<String>,
    /// Sent for the first bytes that come, then an end.
    pub(crate) reply: Option<String>,
    /// The same, as hexadecimal digits.
    pub(crate) reply_hex: Option<String>,
    /// Sends back what comes.
    pub(crate) echo: bool,
    /// Refuses the connection.
    pub(crate) refuse: bool,
    /// Takes everything and says nothing.
    pub(crate) silent: bool,
}

/// How it is between the peers, and on the way to servers.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// How long a byte is under way between the peers, one way.
    #[serde(deserialize_with = "optional_duration")]
    pub(crate) delay: Option<Duration>,
    /// The part of datagrams that is lost, 0 to 1.
    pub(crate) loss: Option<f64>,
    /// Whether the peers cannot reach each other.
    pub(crate) cut: Option<bool>,
}

/// One step: a verb, and what goes with it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    // Verbs; one of them.
    pub(crate) run: Option<String>,
    pub(crate) open: Option<String>,
    pub(crate) service: Option<ServiceName>,
    pub(crate) dial: Option<String>,
    pub(crate) resolve: Option<String>,
    #[serde(deserialize_with = "optional_duration")]
    pub(crate) advance: Option<Duration>,
    pub(crate) network: Option<Network>,
    pub(crate) settings: Option<Map<String, Value>>,
    pub(crate) grants: Option<GrantChoice>,
    pub(crate) fault: Option<Fault>,
    pub(crate) reload: Option<Who>,
    pub(crate) calls: Option<Vec<Expected>>,
    pub(crate) no_calls: Option<Vec<Expected>>,
    pub(crate) log: Option<String>,
    // What goes with some of them.
    pub(crate) on: Option<Who>,
    pub(crate) arguments: Option<Map<String, Value>>,
    pub(crate) events: Option<Vec<Value>>,
    pub(crate) background: bool,
    pub(crate) send: Option<String>,
    pub(crate) send_hex: Option<String>,
    pub(crate) receive: Option<String>,
    pub(crate) receive_hex: Option<String>,
    pub(crate) ends: Option<Ending>,
    pub(crate) answers: Option<String>,
    #[serde(deserialize_with = "optional_duration")]
    pub(crate) ttl: Option<Duration>,
    pub(crate) fails: Option<Kind>,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    Clean,
    Reset,
}

/// The kinds of the contract's errors, and the ways in which a run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Denied,
    NotFound,
    Unreachable,
    Refused,
    TimedOut,
    Limit,
    Closed,
    Invalid,
    /// It crashed, or was stopped for what it used.
    Trap,
}

/// A call that is answered with an error instead of being made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) call: String,
    #[serde(default)]
    pub(crate) on: Option<String>,
    pub(crate) error: Kind,
    /// How often; once by default.
    #[serde(default = "one")]
    pub(crate) times: u32,
}

fn one() -> u32 {
    1
}

/// A call that is looked for in the trace: `tcp.connect web.lan:80`, with ` -> denied` where it is to fail so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) call: String,
    pub(crate) on: Option<String>,
    pub(crate) fails: Option<Kind>,
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (what, fails) = match text.split_once(" -> ") {
            Some((what, kind)) => {
                let kind = Kind::deserialize(Value::from(kind.trim()))
                    .map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))?;
                (what, Some(kind))
            }
            None => (text.as_str(), None),
        };
        let (call, on) = match what.split_once(' ') {
            Some((call, on)) => (call, Some(on.trim().to_owned())),
            None => (what, None),
        };
        if !call.contains('.') {
            return Err(serde::de::Error::custom(format!(
                "{call:?} is no call; write interface.function, such as tcp.connect"
            )));
        }
        Ok(Self {
            call: call.to_owned(),
            on,
            fails,
        })
    }
}

/// What is wrong with a scenario file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// It is no YAML, or has a key or value that makes no sense.
    #[error("{0}")]
    Text(String),
    /// A step has none or more than one verb, or what does not go with it.
    #[error("step {number}: {problem}")]
    Step {
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first mistake, with its line where it is one of form.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        if text.len() > MAX_BYTES {
            return Err(ScenarioError::Text(format!("longer than {MAX_BYTES} bytes")));
        }
        let scenario: Self =
            serde_saphyr::from_str(text).map_err(|error| ScenarioError::Text(error.to_string()))?;
        if scenario.steps.is_empty() || scenario.steps.len() > MAX_STEPS {
            let problem = format!("a scenario has 1 to {MAX_STEPS} steps");
            return Err(ScenarioError::Text(problem));
        }
        for (index, step) in scenario.steps.iter().enumerate() {
            step.check().map_err(|problem| ScenarioError::Step {
                number: index + 1,
                problem,
            })?;
        }
        Ok(scenario)
    }
}

impl Step {
    /// The verbs that it has.
    fn verbs(&self) -> Vec<&'static str> {
        let verbs = [
            ("run", self.run.is_some()),
            ("open", self.open.is_some()),
            ("service", self.service.is_some()),
            ("dial", self.dial.is_some()),
            ("resolve", self.resolve.is_some()),
            ("advance", self.advance.is_some()),
            ("network", self.network.is_some()),
            ("settings", self.settings.is_some()),
            ("grants", self.grants.is_some()),
            ("fault", self.fault.is_some()),
            ("reload", self.reload.is_some()),
            ("calls", self.calls.is_some()),
            ("no_calls", self.no_calls.is_some()),
            ("log", self.log.is_some()),
        ];
        verbs
            .into_iter()
            .filter(|(_, there)| *there)
            .map(|(verb, _)| verb)
            .collect()
    }

    fn check(&self) -> Result<(), String> {
        let verb = match self.verbs()[..] {
            [verb] => verb,
            [] => return Err("it says nothing to do: run, open, service, dial, resolve, advance, network, settings, grants, fault, reload, calls, no_calls or log".to_owned()),
            [first, second, ..] => return Err(format!("it has both {first} and {second}; write two steps")),
        };
        let stream = ["open", "service", "dial"];
        let goes = [
            ("arguments", self.arguments.is_some(), &["run"][..]),
            ("events", self.events.is_some(), &["run"]),
            ("background", self.background, &["run"]),
            ("answers", self.answers.is_some(), &["resolve"]),
            ("ttl", self.ttl.is_some(), &["resolve"]),
            ("send", self.send.is_some(), &stream),
            ("send_hex", self.send_hex.is_some(), &stream),
            ("receive", self.receive.is_some(), &stream),
            ("receive_hex", self.receive_hex.is_some(), &stream),
            ("ends", self.ends.is_some(), &stream),
            (
                "fails",
                self.fails.is_some(),
                &["run", "resolve", "open", "service", "dial"],
            ),
            (
                "on",
                self.on.is_some(),
                &[
                    "run", "dial", "open", "service", "resolve", "log", "settings", "grants",
                ],
            ),
        ];
        for (key, there, verbs) in goes {
            if there && !verbs.contains(&verb) {
                return Err(format!("`{key}` does not go with `{verb}`"));
            }
        }
        for hex in [&self.send_hex, &self.receive_hex].into_iter().flatten() {
            unhex(hex)?;
        }
        Ok(())
    }

    /// What it is, in a few words.
    pub(crate) fn title(&self) -> String {
        let about = match () {
            () if self.run.is_some() => self.run.clone(),
            () if self.open.is_some() => self.open.clone(),
            () if self.dial.is_some() => self.dial.clone(),
            () if self.resolve.is_some() => self.resolve.clone(),
            () if self.log.is_some() => self.log.as_ref().map(|text| format!("{text:?}")),
            () => match (&self.service, self.advance, self.reload) {
                (Some(service), _, _) => Some(service.to_string()),
                (_, Some(time), _) => Some(humantime::format_duration(time).to_string()),
                (_, _, Some(who)) => Some(who.name().to_owned()),
                _ => None,
            },
        };
        let verb = self.verbs().into_iter().next().unwrap_or("nothing");
        match about {
            Some(about) => format!("{verb} {about}"),
            None => verb.to_owned(),
        }
    }
}

/// Reads hexadecimal digits; spaces between them are passed over.
pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| {
            letter
                .to_digit(16)
                .ok_or_else(|| format!("{letter:?} is no hexadecimal digit"))
        })
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    let bytes = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit));
    Ok(bytes.filter_map(|byte| u8::try_from(byte).ok()).collect())
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!("{text:?} is no time, such as 20ms or 5m: {error}"))
    })?;
    Ok(Some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            refused("steps:\n  - run: a\n    open: /b/1\n"),
            "step 1: it has both run and open; write two steps"
        );
        assert_eq!(
            refused("steps:\n  - advance: 1s\n  - resolve: nas\n    send: x\n"),
            "step 2: `send` does not go with `resolve`"
        );
        assert!(refused("steps:\n  - on: home\n").contains("nothing to do"));
        assert!(refused("stepz: []\n").contains("stepz"));
        assert!(refused("steps:\n  - advance: soon\n").contains("\"soon\" is no time"));
        assert!(refused("steps:\n  - open: /x/1\n    send_hex: abc\n").contains("odd number"));
        assert!(refused("steps:\n  - calls: [connect]\n").contains("interface.function"));
        assert!(refused("steps: []\n").contains("1 to 1000 steps"));
    }

    #[test]
    fn an_expected_call_has_an_object_and_an_error_where_they_matter() {
        let text = "steps:\n  - calls: [store.get, tcp.connect a.lan:80 -> denied]\n";
        let scenario = Scenario::parse(text).unwrap();
        let calls = scenario
            .steps
            .first()
            .and_then(|step| step.calls.clone())
            .unwrap();
        let expected = |call: &str, on: Option<&str>, fails| Expected {
            call: call.to_owned(),
            on: on.map(str::to_owned),
            fails,
        };
        assert_eq!(
            calls,
            [
                expected("store.get", None, None),
                expected("tcp.connect", Some("a.lan:80"), Some(Kind::Denied)),
            ]
        );
    }

    #[test]
    fn hexadecimal_digits_become_bytes() {
        assert_eq!(unhex("00 ff1a").unwrap(), [0, 255, 26]);
        assert!(unhex("0g").is_err());
    }
}
