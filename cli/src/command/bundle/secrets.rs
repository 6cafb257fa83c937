//! What tells who and where a node is, as far as it is known by name: out of the config, the machine and what the daemon
//! said. What has a form of its own (ids, addresses, keys) is found by that form in `mask`.

use std::path::Path;

use peerup_config::{AlertWay, NodeConfig};
use serde_json::Value;

use super::{Content, File};

/// A value and the word that its placeholder begins with.
pub(super) type Secret = (String, &'static str);

/// A config with every key.
const SAMPLE: &str = include_str!("../../../../configs/peerup.yaml");
/// Fields of the daemon's answers that hold a name or a word of somebody's choice.
const NAMED: [&str; 6] = ["name", "via", "peer", "service", "comment", "subject"];

pub(super) fn of(path: &Path, config: Option<&NodeConfig>, files: &[File]) -> Vec<Secret> {
    let mut secrets = machine(path);
    match config {
        Some(config) => configured(config, &mut secrets),
        None => secrets.extend(unknown_words(files)),
    }
    for file in files.iter().filter(|file| file.name != "plugins.json") {
        if let Content::Json(value) = &file.content
            && !["doctor.json", "versions.json"].contains(&file.name)
        {
            answered(value, &mut secrets);
        }
    }
    secrets
}

/// Every word of a config that cannot be read which the sample config does not have: a name may stand anywhere.
fn unknown_words(files: &[File]) -> Vec<Secret> {
    let words = |text: &str| -> Vec<String> {
        let words = super::mask::without_comments(text);
        let words = words.split(|c| !super::mask::is_word(c));
        let worth = |word: &&str| word.len() > 1 && !word.chars().all(|c| c.is_ascii_digit());
        words.filter(worth).map(str::to_owned).collect()
    };
    let known = words(SAMPLE);
    let texts = files.iter().filter_map(|file| match &file.content {
        Content::Yaml(text) => Some(text),
        _ => None,
    });
    texts
        .flat_map(|text| words(text))
        .filter(|word| !known.contains(word))
        .map(|word| (word, "word"))
        .collect()
}

fn machine(path: &Path) -> Vec<Secret> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    let short = host.split('.').next().unwrap_or_default().to_owned();
    let mut secrets = vec![(host, "host"), (short, "host")];
    if let Some(folder) = path.parent() {
        secrets.push((folder.display().to_string(), "folder"));
    }
    for (variable, kind) in [("HOME", "folder"), ("USER", "user"), ("LOGNAME", "user")] {
        secrets.extend(std::env::var(variable).ok().map(|value| (value, kind)));
    }
    secrets
}

fn configured(config: &NodeConfig, secrets: &mut Vec<Secret>) {
    let mut add = |value: String, kind| secrets.push((value, kind));
    if let Some(name) = &config.name {
        add(name.to_string(), "name");
    }
    config.names.keys().for_each(|name| add(name.to_string(), "name"));
    for (name, service) in &config.services {
        add(name.to_string(), "service");
        add(host_of(&service.local_address), "host");
    }
    for (name, proxy) in &config.proxies {
        add(name.to_string(), "proxy");
        add(proxy.peer.clone(), "name");
        add(proxy.service.to_string(), "service");
        add(host_of(&proxy.listen), "host");
    }
    for relay in &config.relays {
        let parts = relay.address().to_string();
        let mut parts = parts.split('/');
        while let Some(part) = parts.next() {
            if part.starts_with("dns")
                && let Some(host) = parts.next()
            {
                add(host.to_owned(), "host");
            }
        }
    }
    for plugin in config.plugins.values() {
        if let Ok(grants) = serde_json::to_value(&plugin.grants) {
            texts(&grants, &mut |text| {
                if text.starts_with('/') && !text.starts_with("/peerup/") && !text.contains('*') {
                    add(text.to_owned(), "folder");
                }
                if text
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
                {
                    add(host_of(text), "host");
                }
            });
        }
        plugin
            .settings
            .values()
            .for_each(|value| texts(value, &mut |text| add(text.to_owned(), "setting")));
    }
    for (name, target) in &config.alerts.targets {
        add(name.to_string(), "target");
        match &target.way {
            AlertWay::Command(words) => {
                let words = words.iter().filter(|word| word.len() > 3);
                words.for_each(|word| add(word.clone(), "word"));
            }
            AlertWay::Webhook { url, .. } => {
                // The whole first, then what is left of it in the daemon's answers.
                add(url.clone(), "webhook");
                add(target.way.shown(), "webhook");
            }
        }
    }
    config
        .alerts
        .rules
        .keys()
        .for_each(|name| add(name.to_string(), "rule"));
    let files = [&config.key_file, &config.security.authorized_keys_file];
    for folder in files.into_iter().filter_map(|file| file.parent()) {
        add(folder.display().to_string(), "folder");
    }
}

fn answered(value: &Value, secrets: &mut Vec<Secret>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if NAMED.contains(&key.as_str()) => {
                        secrets.push((text.clone(), "name"));
                    }
                    _ => answered(value, secrets),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| answered(item, secrets)),
        _ => {}
    }
}

/// Every text in a value, and every number as text.
fn texts(value: &Value, take: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Number(number) => take(&number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, take)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, take)),
        Value::Bool(_) | Value::Null => {}
    }
}

fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}
