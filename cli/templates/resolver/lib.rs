//! {{name}}: further names for peers, from its settings. Each stands for a peer id, or for a name in the config's `names:`.

use peerup_plugin_sdk::{Error, Resolved, Resolver, name_list, settings};
use serde::Deserialize;

struct Plugin;

peerup_plugin_sdk::register!(Plugin: resolver);

/// The plugin's section of the config, as `plugin.toml` describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// `NAME=PEER`, with commas between.
    names: String,
}

impl Resolver for Plugin {
    async fn resolve(name: String) -> Result<Option<Resolved>, Error> {
        let settings: Settings = settings::get()?;
        let Some(peer) = stands_for(&settings.names, &name)? else {
            // Not one of ours: the next resolver is asked.
            return Ok(None);
        };
        let listed = name_list::find(peer).await?;
        Ok(Some(Resolved {
            peer: listed.unwrap_or_else(|| peer.to_owned()),
            ttl: None,
        }))
    }
}

/// Finds a name in the settings. The host asks in lower case.
fn stands_for<'a>(names: &'a str, wanted: &str) -> Result<Option<&'a str>, Error> {
    for entry in names
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let (name, peer) = entry
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("{entry:?} is not NAME=PEER")))?;
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Ok(Some(peer.trim()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "storage = nas, TV=12D3KooW,";

    #[test]
    fn a_name_stands_for_what_is_behind_it() {
        assert_eq!(stands_for(NAMES, "storage").unwrap(), Some("nas"));
        assert_eq!(stands_for(NAMES, "tv").unwrap(), Some("12D3KooW"));
    }

    #[test]
    fn others_are_left_to_the_next_resolver() {
        assert_eq!(stands_for(NAMES, "nas").unwrap(), None);
        assert_eq!(stands_for("", "nas").unwrap(), None);
    }

    #[test]
    fn a_mistake_is_told() {
        assert!(stands_for("storage", "nas").is_err());
    }
}
