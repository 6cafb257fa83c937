//! The matrix of denials: every call that needs a grant, in each version of the contract, without the grant, with the
//! same grant for something else, and with it. docs/DENIALS.md is what it comes to.
//!
//! Two things are compared: what a call comes to with what must be (`rows`), and what a plugin is told with the
//! document, word by word. `UPDATE_DOCS=1` writes the document; a call that is let through without its grant fails the
//! test all the same.

mod document;
mod rows;
mod wit;

use std::{borrow::Cow, fs, path::Path, sync::Arc};

use peerup_engine::{
    AddressLookup, Engine, EngineConfig, HostError, Plugin, PluginError, PluginSpec, SERVED_VERSIONS,
};
use peerup_model::Grants;
use peerup_package::Manifest;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{OnePeer, echo_server, engine_with, hostile, outcome_of, request, run};
use document::{Cell, Line};
use rows::{Expected, Row, SERVE};

/// The plugin's name, whichever of the two it is.
const PROBE: &str = "probe";

/// What a host name leads to: an address of the class that it is called after.
fn class_address(host: &str) -> Option<&'static str> {
    Some(match host {
        "loopback.example" => "127.0.0.1",
        "link-local.example" => "169.254.7.7",
        "metadata.example" => "169.254.169.254",
        "unspecified.example" => "0.0.0.0",
        "multicast.example" => "224.0.0.1",
        _ => return None,
    })
}

fn lookup() -> AddressLookup {
    AddressLookup::new(|target| {
        let (host, port) = target.rsplit_once(':').unwrap();
        let found = class_address(host).map(|address| format!("{address}:{port}").parse().unwrap());
        Box::pin(async move { Ok(found.into_iter().collect()) })
    })
}

/// The probe for one version of the contract.
fn probe(version: &str) -> PluginSpec {
    let name = match version {
        "0.1.0" => "probe-0-1-0",
        _ => "probe",
    };
    let guests = peerup_bundle::TEST_GUESTS;
    let guest = guests.iter().find(|guest| guest.name == name).unwrap();
    let mut manifest = Manifest::parse(guest.manifest).unwrap();
    assert_eq!(manifest.contract, version, "there is no probe for this version");
    manifest.name = PROBE.parse().unwrap();
    PluginSpec {
        manifest,
        wasm: Cow::Borrowed(guest.wasm),
        ..hostile()
    }
}

/// What is different on every machine, and what stands for it in the document.
struct Place {
    folder: TempDir,
    echo: String,
}

impl Place {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["granted", "other"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("file"), "text").unwrap();
        }
        Self {
            folder,
            echo: echo_server().await,
        }
    }

    fn fill(&self, text: &str) -> String {
        let folder = self.folder.path().to_str().unwrap();
        text.replace("/srv", folder).replace("127.0.0.1:9000", &self.echo)
    }

    fn clean(&self, text: &str) -> String {
        let folder = self.folder.path().to_str().unwrap();
        text.replace(folder, "/srv").replace(&self.echo, "127.0.0.1:9000")
    }

    fn engine(&self) -> Engine {
        engine_with(EngineConfig {
            data_dir: Some(self.folder.path().join("stores")),
            lookup: lookup(),
            ..EngineConfig::default()
        })
    }

    fn grants(&self, text: &str) -> Grants {
        serde_json::from_str(&self.fill(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

/// Makes the call of a row and tells what it came to, and how many denials were counted.
async fn ask(plugin: &Plugin, row: &Row, on: &str) -> (Result<String, PluginError>, u64) {
    let before = plugin.stats().denials;
    let outcome = if row.call == SERVE {
        let mut inbound = request("");
        inbound.protocol = on.to_owned();
        let served = outcome_of(plugin, inbound).await;
        served.map(|()| "the stream".to_owned())
    } else {
        let (events, outcome) = run(plugin, row.call, json!({ "on": on }), Grants::default()).await;
        outcome.map(|()| events.first().map(|event| event.text.clone()).unwrap_or_default())
    };
    (outcome, plugin.stats().denials - before)
}

/// Compares what a call came to with what it must come to.
fn judge(expected: Expected, outcome: Result<String, PluginError>, denials: u64) -> Result<Cell, String> {
    let denied = match &outcome {
        Err(PluginError::Denied(text) | PluginError::Guest(HostError::Denied(text))) => Some(text.clone()),
        _ => None,
    };
    match (expected, denied, outcome) {
        (Expected::Denied, Some(text), _) if denials == 1 => Ok(Cell::Denied(text)),
        (_, Some(text), _) => Err(format!("was denied, and {denials} denials were counted: {text}")),
        (_, None, outcome) if denials != 0 => {
            Err(format!("counted {denials} denials and came to {outcome:?}"))
        }
        (Expected::Passes(wanted), None, Ok(told)) if told == wanted => Ok(Cell::Passes(told)),
        (Expected::ReachesTheSystem, None, _) => Ok(Cell::Passes("the system decides".to_owned())),
        (Expected::Absent, None, Err(PluginError::Guest(HostError::NotFound(text)))) => {
            Ok(Cell::Absent(text))
        }
        (Expected::Limit, None, Err(PluginError::Guest(HostError::Limit(text)))) => Ok(Cell::Limit(text)),
        (expected, None, outcome) => Err(format!("came to {outcome:?}, and {expected:?} was to be")),
    }
}

/// One row in one version: its three cells, and what of them is not as it must be.
async fn drive(plugin: &Plugin, place: &Place, row: &Row) -> ([Cell; 3], Vec<String>) {
    let mut mistakes = Vec::new();
    let mut cells = [Cell::Void, Cell::Void, Cell::Void];
    let columns = [
        ("not granted", Some((row.none, "{}"))),
        ("granted elsewhere", row.elsewhere),
        ("granted", row.granted),
    ];
    for (cell, (column, asked)) in cells.iter_mut().zip(columns) {
        let Some((expected, grants)) = asked else { continue };
        plugin.set_grants(place.grants(grants));
        let (outcome, denials) = ask(plugin, row, &place.fill(row.on)).await;
        match judge(expected, outcome, denials) {
            Ok(found) => *cell = found.map(|text| place.clean(text)),
            Err(mistake) => mistakes.push(format!("{} of {}, {column}: it {mistake}", row.call, row.on)),
        }
    }
    (cells, mistakes)
}

#[tokio::test]
async fn every_call_is_denied_without_its_grant_in_every_version_of_the_contract() {
    let (place, host) = (Place::new().await, OnePeer::new());
    let engine = place.engine();
    let rows = rows::all();
    let mut lines: Vec<Line> = rows.iter().map(Line::new).collect();
    let mut mistakes = Vec::new();
    for version in SERVED_VERSIONS {
        let plugin = engine
            .load(probe(version), Arc::clone(&host) as Arc<_>)
            .await
            .unwrap();
        for (row, line) in rows.iter().zip(&mut lines) {
            if row.since > *version {
                continue;
            }
            let (cells, wrong) = drive(&plugin, &place, row).await;
            mistakes.extend(
                wrong
                    .into_iter()
                    .map(|text| format!("contract {version}: {text}")),
            );
            line.cells.push((version, cells));
        }
        plugin.stop();
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/DENIALS.md");
    let text = document::text(SERVED_VERSIONS, &lines, &place);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "docs/DENIALS.md is not what the engine does; look at the difference after: UPDATE_DOCS=1 cargo test \
         --workspace --test engine denials"
    );
}

#[test]
fn every_function_of_each_contract_has_its_row_or_needs_no_grant() {
    let rows = rows::all();
    for version in SERVED_VERSIONS {
        let functions = wit::functions(version);
        assert!(functions.len() > 10, "{functions:?}");
        for function in &functions {
            let driven = rows
                .iter()
                .any(|row| row.call == function && row.since <= *version);
            let free = rows::FREE.contains(&function.as_str());
            assert!(
                driven != free,
                "contract {version}: {function} needs either a row or a place among those that need no grant"
            );
        }
        for row in rows.iter().filter(|row| row.since <= *version) {
            let known = functions.iter().any(|function| function == row.call);
            assert!(
                known || !row.of_contract(),
                "contract {version} has no {}",
                row.call
            );
        }
    }
}
