//! Words that plugins add to the command line: what their manifests say becomes arguments, flags and help.
//!
//! A word of peerup's own wins over one of a plugin; `plugin run NAME WORD` reaches every word.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, parser::ValueSource};
use peerup_api::ClientError;
use peerup_daemon::Mode;
use peerup_model::{ErrorCode, Failure, PluginName};
use peerup_package::{CommandSpec, FlagSpec, FlagType, Manifest, PluginFolder};
use serde_json::{Map, Value};

use super::{print_event, usage};
use crate::{
    arguments::Global,
    context::Context,
    session::{Session, until_interrupted},
};

/// A word and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) plugin: PluginName,
    pub(crate) command: CommandSpec,
}

/// Every word of the plugins that come with peerup and of those installed beside this config.
pub(crate) fn all(config: &Path) -> Vec<Word> {
    let mut manifests = peerup_daemon::bundled_manifests();
    let folder = PluginFolder::new(config.parent().unwrap_or(Path::new(".")));
    // What cannot be read adds no words; `plugin list` says what is wrong with it.
    let lock = folder.read().unwrap_or_default();
    let (now, boot) = (peerup_config::now(), peerup_config::boot_id());
    let installed = lock.plugins().filter_map(|locked| {
        let package = folder
            .load(&locked.name, locked.in_force(now, boot.as_deref()))
            .ok()?;
        Some(package.manifest().clone())
    });
    manifests.extend(installed);
    manifests.into_iter().flat_map(words_of).collect()
}

fn words_of(manifest: Manifest) -> impl Iterator<Item = Word> {
    let plugin = manifest.name;
    manifest.commands.into_iter().map(move |command| Word {
        plugin: plugin.clone(),
        command,
    })
}

/// Runs what is no word of peerup's own.
pub(crate) async fn run(context: &Context, words: &[String]) -> Result<(), Failure> {
    let Some(name) = words.first() else {
        return Err(usage("no command"));
    };
    let word = find(context.config_path().ok().as_deref(), name)?;
    call(context, &word, words).await
}

/// Finds the one word of this name. Without a config there are the words of the plugins that come with peerup.
fn find(config: Option<&Path>, name: &str) -> Result<Word, Failure> {
    let words_of_all: Vec<Word> = match config {
        Some(config) => all(config),
        None => peerup_daemon::bundled_manifests()
            .into_iter()
            .flat_map(words_of)
            .collect(),
    };
    let mut known: Vec<Word> = words_of_all
        .into_iter()
        .filter(|word| word.command.name == name)
        .collect();
    match (known.pop(), known.pop()) {
        (None, _) => Err(unknown(name)),
        (Some(word), None) => Ok(word),
        (Some(one), Some(other)) => Err(usage(format!(
            "{name} is a word of the plugins {} and {}",
            other.plugin, one.plugin
        ))
        .with_hint(format!("say which: peerup plugin run {} {name}", other.plugin))),
    }
}

/// Returns the help of a word, as `WORD --help` prints it; none where no plugin has the word.
pub(crate) fn help_of(config: Option<&Path>, name: &str) -> Option<clap::Error> {
    let word = find(config, name).ok()?;
    command(&word).try_get_matches_from([name, "--help"]).err()
}

/// Runs a word of this plugin.
pub(crate) async fn run_of(context: &Context, plugin: &PluginName, words: &[String]) -> Result<(), Failure> {
    // Flags may stand behind the word, and the config says which words there are.
    let named = words
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.as_str() {
            "--config" => words.get(at + 1).map(String::as_str),
            word => word.strip_prefix("--config="),
        });
    let config = match named {
        Some(path) => context.at(path.into()).config_path()?,
        None => context.config_path()?,
    };
    let all: Vec<Word> = all(&config)
        .into_iter()
        .filter(|word| word.plugin == *plugin)
        .collect();
    let (name, names) = (words.first(), names(&all));
    match name.map(|name| all.iter().find(|word| word.command.name == *name)) {
        Some(Some(word)) => call(context, word, words).await,
        _ if all.is_empty() && !is_known(&config, plugin) => {
            let failure = Failure::new(ErrorCode::NotFound, format!("there is no plugin {plugin}"));
            Err(failure.with_hint("see them with: peerup plugin list"))
        }
        _ if all.is_empty() => Err(usage(format!("the plugin {plugin} has no words"))
            .with_hint(format!("see what it is with: peerup plugin inspect {plugin}"))),
        Some(None) => {
            let name = name.map(String::as_str).unwrap_or_default();
            let failure = usage(format!("{plugin} has no word {name:?}"));
            Err(failure.with_hint(format!("its words are: {names}")))
        }
        None => Err(usage(format!("which word of {plugin}?")).with_hint(format!("its words are: {names}"))),
    }
}

fn names(words: &[Word]) -> String {
    let names: Vec<&str> = words.iter().map(|word| word.command.name.as_str()).collect();
    names.join(", ")
}

/// Whether a plugin comes with peerup or is installed beside this config.
fn is_known(config: &Path, plugin: &PluginName) -> bool {
    let folder = PluginFolder::new(config.parent().unwrap_or(Path::new(".")));
    let lock = folder.read().unwrap_or_default();
    peerup_daemon::is_bundled(plugin) || lock.get(plugin).is_some()
}

fn unknown(name: &str) -> Failure {
    usage(format!(
        "{name:?} is neither a command of peerup nor a word of an installed plugin"
    ))
    .with_hint("see all of them with: peerup --help")
}

async fn call(context: &Context, word: &Word, words: &[String]) -> Result<(), Failure> {
    let command = command(word);
    let matches = match command.try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            return Err(usage(text.trim_start_matches("error: ").trim_end().to_owned()));
        }
        Err(help) => {
            // A closed pipe behind --help is nobody's failure.
            let _ = help.print();
            return Ok(());
        }
    };
    let global = Global::from_arg_matches(&matches).map_err(|error| usage(error.to_string()))?;
    let context = context.with(&global);
    let arguments = arguments(&word.command, &matches)?;
    let session = Session::attach_or_start(&context, context.config_path()?, Mode::Client).await?;
    let outcome = until_interrupted(show(&context, &session, word, &arguments)).await;
    session.finish(outcome).await
}

async fn show(context: &Context, session: &Session, word: &Word, arguments: &Value) -> Result<(), Failure> {
    let path = format!(
        "/v1/plugins/{}/commands/{}?format=both",
        word.plugin, word.command.name
    );
    let lines = session.client.post_lines(&path, arguments).await;
    let mut lines = lines
        .map_err(ClientError::into_failure)
        .map_err(|failure| not_running(failure, word))?;
    while let Some(event) = lines.next().await.map_err(ClientError::into_failure)? {
        print_event(context, &event)?;
    }
    Ok(())
}

/// Adds the next step where the plugin does not run.
fn not_running(failure: Failure, word: &Word) -> Failure {
    match failure.code {
        ErrorCode::NotFound if failure.hint.is_none() => {
            failure.with_hint(format!("see why with: peerup plugin inspect {}", word.plugin))
        }
        _ => failure,
    }
}

/// The word as clap reads it.
pub(crate) fn command(word: &Word) -> clap::Command {
    let spec = &word.command;
    let command = clap::Command::new(spec.name.clone())
        .bin_name(format!("peerup {}", spec.name))
        .args_override_self(true)
        .after_help(format!("A word of the plugin {}.", word.plugin));
    let command = spec
        .flags
        .iter()
        .fold(command, |command, flag| command.arg(argument(spec, flag)));
    // After the common flags: they bring what stands above their own definition.
    Global::augment_args(command).about(spec.summary.clone())
}

fn argument(spec: &CommandSpec, flag: &FlagSpec) -> Arg {
    let name = flag.name.clone();
    let argument = Arg::new(name.clone())
        .help(flag.summary.clone())
        .required(flag.required);
    let argument = match (flag.positional, flag.kind) {
        (_, FlagType::Boolean) => return argument.required(false).long(name).action(ArgAction::SetTrue),
        (true, _) => argument.value_name(name.to_uppercase()),
        (false, _) => {
            let twin = format!("PEERUP_{}_{name}", spec.name)
                .replace('-', "_")
                .to_uppercase();
            argument.long(name).env(twin).value_name(placeholder(flag.kind))
        }
    };
    let argument = match flag.kind {
        FlagType::Integer => argument
            .value_parser(clap::value_parser!(i64))
            .allow_negative_numbers(true),
        FlagType::Duration => {
            argument.value_parser(|text: &str| humantime::parse_duration(text).map(|_| text.to_owned()))
        }
        _ => argument.value_parser(clap::value_parser!(String)),
    };
    match &flag.default {
        Some(Value::String(text)) => argument.default_value(text.clone()),
        Some(other) => argument.default_value(other.to_string()),
        None => argument,
    }
}

fn placeholder(kind: FlagType) -> &'static str {
    match kind {
        FlagType::Integer => "N",
        FlagType::Duration => "TIME",
        _ => "TEXT",
    }
}

/// What the plugin gets: a JSON object with what was given and the defaults.
fn arguments(spec: &CommandSpec, matches: &ArgMatches) -> Result<Value, Failure> {
    let mut object = Map::new();
    for flag in &spec.flags {
        let name = flag.name.as_str();
        if matches.value_source(name).is_none() {
            continue;
        }
        let wrong = |error: clap::parser::MatchesError| usage(error.to_string());
        let value = match flag.kind {
            FlagType::Boolean => match matches.value_source(name) {
                Some(ValueSource::DefaultValue) => flag.default.clone(),
                _ => Some(Value::from(matches.get_flag(name))),
            },
            FlagType::Integer => matches
                .try_get_one::<i64>(name)
                .map_err(wrong)?
                .map(|number| Value::from(*number)),
            FlagType::String | FlagType::Duration => matches
                .try_get_one::<String>(name)
                .map_err(wrong)?
                .map(|text| Value::from(text.as_str())),
        };
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(object))
}

/// The words as they stand in `peerup --help`, under the plugins' names.
pub(crate) fn help(words: &[Word], own: &[String]) -> String {
    let mut text = String::new();
    let mut plugin = None;
    for word in words.iter().filter(|word| !own.contains(&word.command.name)) {
        if plugin != Some(&word.plugin) {
            text.push_str(&format!("\nWords of the plugin {}:\n", word.plugin));
            plugin = Some(&word.plugin);
        }
        text.push_str(&format!("  {:<11} {}\n", word.command.name, word.command.summary));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MANIFEST: &str = r#"
name = "greeter"
version = "0.1.0"
contract = "0.1.1"
summary = "Greets."

[[command]]
name = "greet"
summary = "Sends a name to a peer."

[[command.flag]]
name = "peer"
type = "string"
summary = "Whom to ask."
required = true
positional = true

[[command.flag]]
name = "times"
type = "integer"
summary = "How often."
default = 1

[[command.flag]]
name = "wait"
type = "duration"
summary = "How long between."

[[command.flag]]
name = "loud"
type = "boolean"
summary = "In capitals."
"#;

    fn word() -> Word {
        words_of(Manifest::parse(MANIFEST).unwrap()).next().unwrap()
    }

    fn read(words: &[&str]) -> Result<Value, String> {
        let word = word();
        let matches = command(&word)
            .try_get_matches_from(words)
            .map_err(|error| error.to_string())?;
        arguments(&word.command, &matches).map_err(|failure| failure.message)
    }

    #[test]
    fn arguments_become_the_object_that_the_plugin_gets() {
        assert_eq!(
            read(&["greet", "home"]).unwrap(),
            json!({"peer": "home", "times": 1})
        );
        assert_eq!(
            read(&[
                "greet", "--loud", "home", "--times", "-3", "--wait", "1m 30s", "--json"
            ])
            .unwrap(),
            json!({"peer": "home", "times": -3, "wait": "1m 30s", "loud": true})
        );
        for (words, told) in [
            (&["greet"][..], "<PEER>"),
            (&["greet", "home", "--times", "many"], "many"),
            (&["greet", "home", "--wait", "soon"], "soon"),
            (&["greet", "home", "--quietly"], "--quietly"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let repeated = [
            "greet", "home", "--times", "2", "--json", "--times", "3", "--json", "--loud", "--loud",
        ];
        assert_eq!(
            read(&repeated).unwrap(),
            json!({"peer": "home", "times": 3, "loud": true})
        );
    }

    #[test]
    fn the_help_of_a_word_begins_with_its_summary() {
        let help = read(&["greet", "--help"]).unwrap_err();
        assert!(
            help.starts_with("Sends a name to a peer.\n\nUsage: peerup greet"),
            "{help}"
        );
    }

    #[test]
    fn words_stand_in_the_help_under_their_plugin_and_own_ones_win() {
        let mut other = word();
        other.command.name = "ping".to_owned();
        let text = help(&[word(), other], &["ping".to_owned()]);
        assert_eq!(
            text,
            "\nWords of the plugin greeter:\n  greet       Sends a name to a peer.\n"
        );
    }
}
