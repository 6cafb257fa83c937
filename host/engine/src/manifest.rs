//! `plugin.toml`: what a plugin says about itself. It asks; what it gets is the operator's grant.

use peerup_model::PluginName;
use serde::Deserialize;

use crate::error::ManifestError;

/// The longest `plugin.toml` that is read.
const MAX_MANIFEST_BYTES: usize = 64 << 10;
/// The most entries of any list in it.
const MAX_ENTRIES: usize = 64;
/// The longest summary or reason.
const MAX_TEXT_BYTES: usize = 400;
/// The longest name of a capability, command or protocol.
const MAX_NAME_BYTES: usize = 140;

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name: part of its protocol ids and its place in the config.
    pub name: PluginName,
    /// Its own version.
    pub version: String,
    /// The version of the contract that it was built for.
    pub contract: String,
    /// One line for `plugin list`.
    pub summary: String,
    /// What it wants to be granted. `[[capability]]` in the file.
    #[serde(default, rename = "capability")]
    pub capabilities: Vec<Capability>,
    /// The protocols that it serves; `*` stands for one part.
    #[serde(default)]
    pub protocols: Vec<String>,
    /// Its words on the command line. `[[command]]` in the file.
    #[serde(default, rename = "command")]
    pub commands: Vec<CommandSpec>,
}

/// One thing that a plugin wants to be granted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// `protocols`, `tcp.connect`, `tcp.listen`, `udp.bind`, `udp.connect`, `store`, `directories`, `environment`,
    /// `names.resolve`, `names.list`, `peers.read` or `peers.addresses`.
    pub name: String,
    /// What it needs it for, for the operator to read.
    pub reason: String,
    /// Whether it can run without.
    #[serde(default)]
    pub optional: bool,
}

/// One word that a plugin adds to the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    /// The word.
    pub name: String,
    /// One line for the help.
    pub summary: String,
}

impl Manifest {
    /// Reads `plugin.toml`. Unknown keys are refused, texts and lists are bounded.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::Bound(format!(
                "it is longer than {MAX_MANIFEST_BYTES} bytes"
            )));
        }
        let manifest: Self = toml::from_str(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let names = self
            .capabilities
            .iter()
            .map(|capability| &capability.name)
            .chain(self.commands.iter().map(|command| &command.name))
            .chain(&self.protocols)
            .chain([&self.version, &self.contract]);
        let texts = self
            .capabilities
            .iter()
            .map(|capability| &capability.reason)
            .chain(self.commands.iter().map(|command| &command.summary))
            .chain([&self.summary]);
        bounded(names, MAX_NAME_BYTES)?;
        bounded(texts, MAX_TEXT_BYTES)?;
        let longest = self
            .capabilities
            .len()
            .max(self.commands.len())
            .max(self.protocols.len());
        if longest > MAX_ENTRIES {
            return Err(ManifestError::Bound(format!(
                "a list has more than {MAX_ENTRIES} entries"
            )));
        }
        Ok(())
    }
}

fn bounded<'a>(mut texts: impl Iterator<Item = &'a String>, bytes: usize) -> Result<(), ManifestError> {
    match texts.find(|text| text.is_empty() || text.len() > bytes || text.contains(char::is_control)) {
        None => Ok(()),
        Some(text) => Err(ManifestError::Bound(format!(
            "{:?} is empty, longer than {bytes} bytes, or more than one line",
            text.chars().take(40).collect::<String>()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
        name = "chess"
        version = "0.1.0"
        contract = "0.1.0"
        summary = "Plays."
        protocols = ["/peerup/p/chess/game/1.0.0"]
        [[capability]]
        name = "tcp.connect"
        reason = "asks the engine"
        optional = true
        [[command]]
        name = "play"
        summary = "Plays a game."
    "#;

    #[test]
    fn reads_what_a_plugin_says_about_itself() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(manifest.name.as_str(), "chess");
        assert!(manifest.capabilities[0].optional);
        assert_eq!(manifest.commands[0].name, "play");
    }

    #[test]
    fn refuses_unknown_keys_and_texts_past_their_bound() {
        assert!(Manifest::parse(&format!("grants = true\n{GOOD}")).is_err());
        assert!(Manifest::parse(&GOOD.replace("Plays.", &"x".repeat(500))).is_err());
        assert!(Manifest::parse(&GOOD.replace("Plays.", "")).is_err());
        assert!(Manifest::parse(&" ".repeat(MAX_MANIFEST_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,200}") {
            let _ = Manifest::parse(&text);
        }
    }
}
