//! `plugin new`: a small plugin that builds and passes its test, to be changed into what one wants.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peerup_engine::CONTRACT_VERSION;
use peerup_model::{ErrorCode, Failure, PluginName};

use super::{failed, project, read_name, sdk};
use crate::{
    arguments::{PluginNew, PluginTemplate},
    context::Context,
    output,
};

const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
const CARGO_TOML: &str = include_str!("../../../templates/Cargo.toml.in");
const GITIGNORE: &str = include_str!("../../../templates/gitignore.in");
const README: &str = include_str!("../../../templates/README.md.in");

/// What one template has of its own.
struct Template {
    what: &'static str,
    library: &'static str,
    manifest: &'static str,
    scenario: &'static str,
}

macro_rules! template {
    ($folder:literal, $what:literal) => {
        Template {
            what: $what,
            library: include_str!(concat!("../../../templates/", $folder, "/lib.rs")),
            manifest: include_str!(concat!("../../../templates/", $folder, "/plugin.toml")),
            scenario: include_str!(concat!("../../../templates/", $folder, "/scenario.yaml")),
        }
    };
}

impl PluginTemplate {
    fn files(self) -> Template {
        match self {
            Self::TcpService => template!(
                "tcp-service",
                "A plugin for peerup that serves TCP services: it joins each stream of a peer with a TCP connection."
            ),
            Self::Resolver => template!(
                "resolver",
                "A plugin for peerup that knows who names stand for, from its settings."
            ),
            Self::Command => template!(
                "command",
                "A plugin for peerup with a command that asks a peer something over a protocol of its own."
            ),
            Self::Service => template!(
                "service",
                "A plugin for peerup that runs as long as it is enabled, counts in its store, and has a command."
            ),
        }
    }
}

pub(super) fn run(context: &Context, arguments: &PluginNew) -> Result<(), Failure> {
    let name = read_name(&arguments.name)?;
    if peerup_daemon::is_bundled(&name) {
        return Err(Failure::new(
            ErrorCode::Conflict,
            format!("{name} is a plugin that comes with peerup, and no other can take its name"),
        )
        .with_hint("choose another name"));
    }
    let folder = arguments
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(name.as_str()));
    let sdk = sdk::ensure()?;
    let files = files(&name, arguments.template, &sdk);
    make(&folder, &files).map_err(|error| made_failure(&folder, &error))?;
    if context.json {
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        return output::json(&serde_json::json!({
            "name": name,
            "template": arguments.template.to_string(),
            "dir": folder,
            "files": names,
            "sdk": sdk,
        }));
    }
    let shown = folder.display();
    output::line(format!("made the plugin {name} in {shown}"))?;
    context.note(&format!(
        "  next: peerup plugin build {shown}\n  next: peerup plugin test {shown}"
    ));
    Ok(())
}

/// Returns the files of a project by their names.
fn files(name: &PluginName, template: PluginTemplate, sdk: &Path) -> Vec<(String, String)> {
    let of = template.files();
    let filled = |text: &str| {
        text.replace("{{name}}", name.as_str())
            .replace("{{contract}}", CONTRACT_VERSION)
            .replace("{{sdk}}", sdk::VERSION)
            .replace("{{rust}}", RUST_VERSION)
            .replace("{{what}}", of.what)
    };
    [
        ("Cargo.toml".to_owned(), filled(CARGO_TOML)),
        ("src/lib.rs".to_owned(), filled(of.library)),
        ("plugin.toml".to_owned(), filled(of.manifest)),
        (format!("tests/{name}.yaml"), filled(of.scenario)),
        ("README.md".to_owned(), filled(README)),
        (".gitignore".to_owned(), filled(GITIGNORE)),
        (project::CARGO_CONFIG.to_owned(), project::cargo_config(sdk)),
    ]
    .into()
}

/// Makes the folder with everything in it, or nothing.
fn make(folder: &Path, files: &[(String, String)]) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let parent = folder.parent().unwrap_or(Path::new("/"));
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::create_dir_all(parent)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let beside = parent.join(format!(".{name}.{}", std::process::id()));
    let made = (|| {
        for (name, text) in files {
            let path = beside.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        // Takes the place of an empty folder, and of nothing else.
        fs::rename(&beside, &folder)
    })();
    if made.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    made
}

fn made_failure(folder: &Path, error: &io::Error) -> Failure {
    let shown = folder.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
            Failure::new(
                ErrorCode::Conflict,
                format!("{shown} is there already, and nothing is overwritten"),
            )
            .with_hint("name another folder with --dir D")
        }
        _ => failed(format!("{shown} cannot be made: {error}")).with_hint("check the folder and its rights"),
    }
}

#[cfg(test)]
mod tests {
    use peerup_package::{Manifest, Severity};

    use super::*;

    const ALL: [PluginTemplate; 4] = [
        PluginTemplate::TcpService,
        PluginTemplate::Resolver,
        PluginTemplate::Command,
        PluginTemplate::Service,
    ];

    #[test]
    fn every_template_is_filled_and_has_a_manifest_without_a_mistake() {
        for template in ALL {
            let files = files(&"chess".parse().unwrap(), template, Path::new("/sdk"));
            assert!(files.len() < 10);
            for (name, text) in &files {
                assert!(!text.contains("{{") && !text.contains("}}"), "{template} {name}");
            }
            let (_, text) = files.iter().find(|(name, _)| name == "plugin.toml").unwrap();
            let manifest = Manifest::parse(text).unwrap();
            let findings = peerup_package::lint(&manifest, None);
            assert!(
                findings.iter().all(|one| one.severity == Severity::Advice),
                "{template}: {findings:?}"
            );
        }
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_made_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("chess");
        let files = [("a/b".to_owned(), "text".to_owned())];
        fs::create_dir(&folder).unwrap();
        make(&folder, &files).unwrap();
        assert_eq!(fs::read_to_string(folder.join("a/b")).unwrap(), "text");
        let again = make(&folder, &files).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let broken = [("x".to_owned(), String::new()), ("x/y".to_owned(), String::new())];
        make(&parent.path().join("other"), &broken).unwrap_err();
        let left: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["chess"]);
    }
}
