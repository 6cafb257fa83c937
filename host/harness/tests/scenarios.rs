//! The scenarios of the plugins that come with peerup, and what a scenario does with a plugin that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::path::{Path, PathBuf};

use peerup_bundle::Bundled;
use peerup_harness::{Outcome, Scenario, Subject, run};
use peerup_package::Manifest;

fn subject(bundled: &Bundled) -> Subject {
    Subject {
        manifest: Manifest::parse(bundled.manifest).unwrap(),
        wasm: bundled.wasm.into(),
        cache: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugins")),
    }
}

/// Runs the hostile plugin with a service that behaves, unless the scenario has settings of its own.
fn hostile(scenario: &str) -> Outcome {
    let subject = subject(&peerup_bundle::TEST_GUESTS[0]);
    let service = match scenario.contains("settings:") {
        true => "",
        false => "settings: {behaviour: until-stopping}\n",
    };
    run(
        &Scenario::parse(&format!("{service}{scenario}")).unwrap(),
        &subject,
    )
}

fn told(outcome: &Outcome) -> String {
    let failed = outcome.steps.iter().find_map(|step| {
        let failure = step.failure.as_ref()?;
        Some(format!("{}: {failure}", step.title))
    });
    failed.or_else(|| outcome.failure.clone()).unwrap_or_default()
}

#[test]
fn every_scenario_of_the_plugins_holds() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let mut ran = 0;
    for bundled in peerup_bundle::BUNDLED {
        let Ok(folder) = plugins.join(bundled.name).join("tests").read_dir() else {
            continue;
        };
        for file in folder.map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&file).unwrap();
                let scenario =
                    Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let outcome = run(&scenario, &subject(bundled));
                assert!(
                    outcome.passed,
                    "{}: {}\n{:#?}",
                    file.display(),
                    told(&outcome),
                    outcome.calls
                );
                ran += 1;
            }
        }
    }
    assert!(ran >= 4, "{ran} scenarios were found");
}

#[test]
fn a_step_that_does_not_hold_is_named_with_what_came() {
    let outcome = hostile("steps:\n  - run: error\n  - run: error\n");
    assert_eq!((outcome.passed, outcome.steps.len()), (false, 1));
    assert_eq!(told(&outcome), "run error: it failed: asked to fail");
    let outcome = hostile("steps:\n  - run: error\n    fails: denied\n");
    assert_eq!(
        told(&outcome),
        "run error: it failed with refused, and denied was expected: asked to fail"
    );
    let outcome =
        hostile("steps:\n  - open: /peerup/p/hostile/echo/1.0.0\n    send: abc\n    receive: abd\n");
    assert_eq!(
        told(&outcome),
        "open /peerup/p/hostile/echo/1.0.0: \"abc\" came, and \"abd\" was expected"
    );
    let outcome = hostile(
        "grants: {}\nsteps:\n  - run: resolve\n    arguments: {name: home}\n    fails: denied\n  - calls: [tcp.connect]\n",
    );
    assert_eq!(
        told(&outcome),
        "calls: no tcp.connect was called; there were: settings.get, settings.get, names.resolve home"
    );
    let denied = outcome
        .calls
        .iter()
        .find(|call| call.call == "names.resolve")
        .unwrap();
    assert!(
        denied.denied && denied.error.as_ref().unwrap().contains("names: [resolve]"),
        "{denied:?}"
    );
}

#[test]
fn a_plugin_that_misbehaves_ends_its_own_step_and_nothing_else() {
    for (behaviour, expected) in [
        ("loop", "CPU"),
        ("alloc", "memory"),
        ("trap", "crashed"),
        ("stack", "crashed"),
    ] {
        let outcome = hostile(&format!("steps:\n  - run: {behaviour}\n"));
        assert!(
            told(&outcome).contains(expected),
            "{behaviour}: {}",
            told(&outcome)
        );
    }
    // A command that never ends is given up after an hour that passes at once.
    let outcome = hostile("steps:\n  - run: hold\n");
    assert!(told(&outcome).contains("within 3600s"), "{}", told(&outcome));
    assert_eq!(outcome.passed_ms / 1000, 3600);
}

#[test]
fn faults_are_put_in_as_often_as_they_say() {
    let outcome = hostile(
        "servers: {tcp: {'db.lan:5': {silent: true}}}\n\
         grants: {tcp: {connect: ['db.lan:5']}}\n\
         steps:\n\
         - fault: {call: tcp.connect, on: 'db.lan:5', error: timed-out, times: 2}\n\
         - {run: connect, arguments: {target: 'db.lan:5'}, fails: timed-out}\n\
         - {run: connect, arguments: {target: 'db.lan:5'}, fails: timed-out}\n\
         - {run: connect, arguments: {target: 'db.lan:5'}}\n\
         - {run: connect, arguments: {target: 'db.lan:6'}, fails: denied}\n\
         - calls: ['tcp.connect db.lan:5 -> timed-out', 'tcp.connect db.lan:5', 'tcp.connect db.lan:6 -> denied']\n\
         - no_calls: [tcp.connect]\n",
    );
    assert!(outcome.passed, "{}", told(&outcome));
}

#[test]
fn a_service_lives_through_changes_and_its_failure_is_told() {
    let outcome = hostile(
        "settings: {behaviour: until-stopping}\nsteps:\n- advance: 1h\n- reload: home\n- advance: 24h\n",
    );
    assert!(outcome.passed, "{}", told(&outcome));
    assert_eq!(outcome.passed_ms / 3_600_000, 25);
    let outcome = hostile("settings: {behaviour: error}\nsteps:\n- advance: 1s\n");
    assert!(
        told(&outcome).contains("the service at laptop failed"),
        "{}",
        told(&outcome)
    );
    let outcome = hostile("settings: {behaviour: ignore-stopping}\nsteps:\n- advance: 1s\n");
    assert!(
        told(&outcome).contains("did not return within 30s"),
        "{}",
        told(&outcome)
    );
}
