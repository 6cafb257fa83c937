//! `debug-bundle`: what somebody else needs to find out what is wrong, in one file. What tells who and where this is, is
//! replaced by placeholders, the same value by the same one.
//!
//! The key, the cookie and `authorized_keys` are never read for it, masked or not.

mod mask;
mod secrets;

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use peerup_api::Client;
use peerup_config::NodeConfig;
use peerup_daemon::DoctorOptions;
use peerup_model::{ErrorCode, Failure};
use serde_json::{Value, json};

use self::mask::Mask;
use super::failed;
use crate::{arguments::DebugBundle, context::Context, output, session};

/// The folder within the archive.
const FOLDER: &str = "peerup-debug";
/// Lines of the daemon's log.
const LOG_LINES: usize = 500;
/// What is asked of the daemon, and the file that it goes into.
const ASKED: [(&str, &str); 7] = [
    ("/v1/status", "status.json"),
    ("/v1/peers?all=true", "peers.json"),
    ("/v1/paths", "paths.json"),
    ("/v1/relays", "relays.json"),
    ("/v1/plugins", "plugins.json"),
    ("/v1/connect", "proxies.json"),
    ("/v1/alerts", "alerts.json"),
];

pub(crate) async fn run(context: &Context, arguments: DebugBundle) -> Result<(), Failure> {
    let path = context.config_path()?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| failed(format!("{} cannot be read: {error}", path.display())))?;
    // A config that does not hold is a reason to make a bundle, not one to fail.
    let config = peerup_config::load_node(&path).ok().map(|loaded| loaded.config);
    let files = collect(context, &path, &text, config.as_ref()).await;
    let masked = !arguments.no_mask;
    let files = match masked {
        true => {
            let mut mask = Mask::new(&secrets::of(&path, config.as_ref(), &files));
            files.into_iter().map(|file| file.masked(&mut mask)).collect()
        }
        false => files,
    };
    let target = arguments
        .out
        .unwrap_or_else(|| PathBuf::from(format!("peerup-debug-{}.tar.gz", stamp())));
    let archive = pack(&files)?;
    write(&target, &archive)?;
    if context.json {
        return output::json(&json!({ "file": target, "masked": masked }));
    }
    output::line(target.display())?;
    context.note(match masked {
        true => {
            "peer ids, addresses, names and paths are replaced by placeholders; look through it before you hand it on"
        }
        false => "nothing is masked: it has peer ids, addresses, names and the whole config, with plugins' settings",
    });
    Ok(())
}

/// One file of the bundle.
#[derive(Debug)]
struct File {
    name: &'static str,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Json(Value),
    Text(String),
    /// A config: masked without its comments, which may say anything.
    Yaml(String),
}

impl File {
    fn masked(self, mask: &mut Mask) -> Self {
        let content = match self.content {
            Content::Json(value) => Content::Json(mask.json(value)),
            Content::Text(text) => Content::Text(mask.text(&text)),
            Content::Yaml(text) => Content::Yaml(mask.text(&mask::without_comments(&text))),
        };
        Self { content, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        match &self.content {
            Content::Json(value) => format!("{value:#}\n").into_bytes(),
            Content::Text(text) | Content::Yaml(text) => text.clone().into_bytes(),
        }
    }
}

async fn collect(context: &Context, path: &Path, text: &str, config: Option<&NodeConfig>) -> Vec<File> {
    let client = session::running(path).await;
    let file = |name, value| File {
        name,
        content: Content::Json(value),
    };
    let mut files = vec![
        file("versions.json", versions(client.is_some())),
        File {
            name: "config.yaml",
            content: Content::Yaml(text.to_owned()),
        },
    ];
    let doctor = peerup_daemon::doctor(
        context.config_path(),
        DoctorOptions {
            fix: false,
            root: PathBuf::from("/"),
        },
    );
    files.push(file(
        "doctor.json",
        serde_json::to_value(doctor.await).unwrap_or_default(),
    ));
    match client {
        Some(client) => {
            for (endpoint, name) in ASKED {
                files.push(file(name, ask(&client, endpoint).await));
            }
            files.push(File {
                name: "log.txt",
                content: Content::Text(log(&client).await),
            });
        }
        None => {
            let plugins = config.map(|config| config.plugins.keys().collect::<Vec<_>>());
            files.push(file("plugins.json", json!(plugins)));
        }
    }
    files
}

fn versions(running: bool) -> Value {
    let system = rustix::system::uname();
    json!({
        "peerup": env!("CARGO_PKG_VERSION"),
        "daemon_runs": running,
        "system": system.sysname().to_string_lossy(),
        "release": system.release().to_string_lossy(),
        "machine": system.machine().to_string_lossy(),
    })
}

/// An answer of the daemon, or why there is none.
async fn ask(client: &Client, endpoint: &str) -> Value {
    match client.get(endpoint).await {
        Ok(value) => value,
        Err(error) => json!({ "error": error.to_string() }),
    }
}

async fn log(client: &Client) -> String {
    let path = format!("/v1/logs?format=both&lines={LOG_LINES}");
    let mut text = String::new();
    let Ok(mut lines) = client.get_lines(&path).await else {
        return text;
    };
    while let Ok(Some(line)) = lines.next().await {
        text.push_str(line.get("text").and_then(Value::as_str).unwrap_or_default());
        text.push('\n');
    }
    text
}

fn pack(files: &[File]) -> Result<Vec<u8>, Failure> {
    let broken = |error: std::io::Error| failed(format!("the bundle cannot be made: {error}"));
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for file in files {
        let bytes = file.bytes();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
        archive
            .append_data(&mut header, format!("{FOLDER}/{}", file.name), bytes.as_slice())
            .map_err(broken)?;
    }
    archive.into_inner().and_then(GzEncoder::finish).map_err(broken)
}

/// Writes the archive for its owner alone, and over nothing.
fn write(path: &Path, archive: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(ErrorCode::Conflict, format!("{} exists already", path.display()))
                .with_hint("name another file with --out")
        }
        _ => failed(format!("{} cannot be made: {error}", path.display())),
    })?;
    file.write_all(archive)
        .map_err(|error| failed(format!("{} cannot be written: {error}", path.display())))
}

fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}
