//! Replaces what tells who and where a node is by placeholders: known values wherever they stand, ids, addresses, host
//! names and keys by their form. The same value gets the same placeholder throughout one bundle.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use libp2p_identity::PeerId;
use serde_json::Value;

use super::secrets::Secret;

/// Letters and digits in a row from which on they may be a key.
const KEY_LENGTH: usize = 32;
/// What looks like a host name and is none: ends of files, and words with a dot of peerup itself.
const NO_HOSTS: [&str; 30] = [
    "yaml",
    "yml",
    "json",
    "jsonl",
    "toml",
    "lock",
    "log",
    "txt",
    "key",
    "sock",
    "wasm",
    "rs",
    "md",
    "conf",
    "md5",
    "service",
    "connect",
    "listen",
    "bind",
    "resolve",
    "list",
    "read",
    "addresses",
    "default",
    "peers",
    "services",
    "plugins",
    "grants",
    "tcp",
    "udp",
];

/// The placeholders given out so far.
#[derive(Debug)]
pub(super) struct Mask {
    /// Values with a character that ends a word, such as paths; the longest first.
    phrases: Vec<(String, String)>,
    /// Single words, in lower case.
    words: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Mask {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let mut mask = Self {
            phrases: Vec::new(),
            words: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        for (value, kind) in secrets {
            // A flag such as --name is looked up without its dashes.
            let value = value.trim().trim_start_matches('-');
            // Not worth a placeholder, or found by form.
            if value.is_empty() || value == "/" || value == "localhost" || is_formed(value) {
                continue;
            }
            if value.chars().all(is_word) {
                mask.word(value, kind);
            } else if mask.phrases.iter().all(|(known, _)| known != value) {
                let placeholder = mask.next(kind);
                mask.phrases.push((value.to_owned(), placeholder));
            }
        }
        mask.phrases
            .sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        mask
    }

    /// Masks every text of a value, keys too.
    pub(super) fn json(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.json(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, value)| {
                    // The fields of peerup's own answers stay readable, whatever somebody called a peer.
                    let key = match key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                        true => key,
                        false => self.text(&key),
                    };
                    (key, self.json(value))
                })
                .collect(),
            other => other,
        }
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, placeholder) in &self.phrases {
            text = text.replace(value.as_str(), placeholder);
        }
        let mut masked = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let end = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
            let (run, behind) = rest.split_at(end);
            masked.push_str(&self.run(run));
            let next = behind.chars().next().map_or(0, char::len_utf8);
            let (other, behind) = behind.split_at(next);
            masked.push_str(other);
            rest = behind;
        }
        masked
    }

    /// A run of letters, digits, dots, colons, dashes and underscores.
    fn run(&mut self, run: &str) -> String {
        let core = run.trim_end_matches(['.', ':', '-']);
        let (core, tail) = run.split_at(core.len());
        let core_start = core.trim_start_matches(['.', '-']);
        let (head, core) = core.split_at(core.len() - core_start.len());
        format!("{head}{}{tail}", self.core(core))
    }

    fn core(&mut self, text: &str) -> String {
        if let Ok(address) = text.parse::<IpAddr>() {
            return self.address(address);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return format!("{}:{}", self.address(address.ip()), address.port());
        }
        if text.contains(':') {
            let parts: Vec<String> = text.split(':').map(|part| self.part(part)).collect();
            return parts.join(":");
        }
        self.part(text)
    }

    fn part(&mut self, text: &str) -> String {
        if let Ok(address) = text.parse::<IpAddr>() {
            return self.address(address);
        }
        if let Some(known) = self.words.get(&text.to_ascii_lowercase()) {
            return known.clone();
        }
        if text.parse::<PeerId>().is_ok() {
            return self.word(text, "peer");
        }
        if is_host(text) {
            return self.word(text, "host");
        }
        if text.contains('.') {
            let parts: Vec<String> = text.split('.').map(|part| self.part(part)).collect();
            return parts.join(".");
        }
        if is_key(text) {
            return self.word(text, "key");
        }
        text.to_owned()
    }

    fn address(&mut self, address: IpAddr) -> String {
        // They are the same on every machine.
        if address.is_loopback() || address.is_unspecified() {
            return address.to_string();
        }
        let kind = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        self.word(&address.to_string(), kind)
    }

    fn word(&mut self, value: &str, kind: &'static str) -> String {
        let value = value.to_ascii_lowercase();
        if let Some(known) = self.words.get(&value) {
            return known.clone();
        }
        let placeholder = self.next(kind);
        self.words.insert(value, placeholder.clone());
        placeholder
    }

    fn next(&mut self, kind: &'static str) -> String {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        format!("<{kind}-{count}>")
    }
}

/// Takes comments out of YAML. Takes more where a text has ` #` in it, never less.
pub(super) fn without_comments(text: &str) -> String {
    let kept = text.lines().filter_map(|line| {
        let code = match line.find('#') {
            Some(0) => "",
            Some(_) => line.split_once(" #").map_or(line, |(code, _)| code),
            None => line,
        };
        (!code.trim().is_empty()).then(|| format!("{}\n", code.trim_end()))
    });
    kept.collect()
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || ['-', '_'].contains(&c)
}

fn in_run(c: char) -> bool {
    is_word(c) || ['.', ':'].contains(&c)
}

/// Whether the form alone tells what this is.
fn is_formed(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<PeerId>().is_ok()
}

fn is_host(text: &str) -> bool {
    let Some((_, last)) = text.rsplit_once('.') else {
        return false;
    };
    let labels = text
        .split('.')
        .all(|label| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    labels && last.len() >= 2 && last.chars().all(|c| c.is_ascii_alphabetic()) && !NO_HOSTS.contains(&last)
}

fn is_key(text: &str) -> bool {
    text.len() >= KEY_LENGTH && text.chars().any(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn mask() -> Mask {
        Mask::new(&[
            ("zanzibar".to_owned(), "name"),
            ("/home/alice".to_owned(), "folder"),
            ("s3cret value".to_owned(), "setting"),
        ])
    }

    #[test]
    fn each_form_is_found_where_it_stands() {
        for (text, masked) in [
            ("zanzibar", "<name-1>"),
            ("peer=Zanzibar: gone", "peer=<name-1>: gone"),
            ("zanzibars", "zanzibars"),
            ("/home/alice/x.yaml", "<folder-1>/x.yaml"),
            ("a s3cret value here", "a <setting-1> here"),
            ("/ip4/203.0.113.7/tcp/4001", "/ip4/<ipv4-1>/tcp/4001"),
            ("203.0.113.7:80.", "<ipv4-1>:80."),
            ("[2001:db8::1]:80", "[<ipv6-1>]:80"),
            ("127.0.0.1:80 [::1] 0.0.0.0", "127.0.0.1:80 [::1] 0.0.0.0"),
            ("/dns4/relay.example.org/udp/1", "/dns4/<host-1>/udp/1"),
            ("nas.lan:22", "<host-1>:22"),
            (
                "config.yaml tcp.connect 0.1.0 10:54:56",
                "config.yaml tcp.connect 0.1.0 10:54:56",
            ),
            ("peerup_daemon::app", "peerup_daemon::app"),
            ("0123456789abcdef0123456789abcdef", "<key-1>"),
        ] {
            assert_eq!(mask().text(text), masked, "{text}");
        }
        assert_eq!(mask().text(&format!("/p2p/{PEER}.")), "/p2p/<peer-1>.");
    }

    #[test]
    fn the_same_value_is_the_same_placeholder_and_another_is_another() {
        let mut mask = mask();
        assert_eq!(
            mask.text("192.0.2.1 192.0.2.2 192.0.2.1"),
            "<ipv4-1> <ipv4-2> <ipv4-1>"
        );
        let value = mask.json(serde_json::json!({ "name": "line\nzanzibar", "at": ["192.0.2.2"], PEER: 1 }));
        assert_eq!(
            value,
            serde_json::json!({ "name": "line\n<name-1>", "at": ["<ipv4-2>"], "<peer-1>": 1 })
        );
    }

    #[test]
    fn comments_go() {
        assert_eq!(
            without_comments("# all\na: 1 # why\n\n  # more\nb: x#y\n"),
            "a: 1\nb: x#y\n"
        );
    }
}
