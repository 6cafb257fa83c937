//! What authors use: a new plugin, its build, and what is found in plugins that are wrong in one way each.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use peerup_package::{Manifest, Package, Surface, UseStatus, capability_uses};
use serde_json::Value;

use crate::{
    names::command,
    support::{BUILD, Client, Node, Outcome, Pair, bare, with_toolchain},
};

const TEMPLATES: [&str; 4] = ["command", "tcp-service", "resolver", "service"];

/// Runs a command that builds.
#[track_caller]
fn building(folder: &Path, arguments: &[&str]) -> Outcome {
    let mut command = bare(folder, arguments);
    finished(with_toolchain(&mut command))
}

#[track_caller]
fn finished(command: &mut Command) -> Outcome {
    peerup_testkit::run("build", command, BUILD).unwrap().into()
}

fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    Outcome::of(bare(folder, arguments))
}

fn findings(report: &Value, severity: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["severity"] == severity)
        .map(|finding| {
            format!(
                "{}: {}",
                finding["about"].as_str().unwrap(),
                finding["message"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn every_template_builds_passes_its_tests_and_uses_what_it_declares() {
    let folder = tempfile::tempdir().unwrap();
    for template in TEMPLATES {
        let name = format!("my-{template}");
        let made = run(folder.path(), &["plugin", "new", &name, "--template", template]);
        assert!(
            made.stderr.contains(&format!("next: peerup plugin build {name}")),
            "{made:#?}"
        );
        made.ok();
        let built = building(folder.path(), &["plugin", "build", &name, "--json"]).json();
        assert_eq!(built["contract"], "0.1.1", "{built}");
        let uses = built["capabilities"].as_array().unwrap();
        assert!(
            uses.iter().all(|one| one["status"] == "used"),
            "{template}: {uses:?}"
        );
        assert!(
            built["bytes"].as_u64().unwrap() < 200 * 1024,
            "{template}: {built}"
        );

        let project = folder.path().join(&name);
        let tests = finished(with_toolchain(
            Command::new("cargo").arg("test").current_dir(&project),
        ));
        assert!(tests.stdout.contains("test result: ok"), "{tests:#?}");
        let format = ["fmt", "--check"];
        finished(with_toolchain(
            Command::new("cargo").args(format).current_dir(&project),
        ))
        .ok();

        let checked = building(folder.path(), &["plugin", "check", &name, "--json"]).json();
        for severity in ["error", "warning"] {
            assert_eq!(findings(&checked, severity), [""; 0], "{template}: {checked}");
        }
        assert!(
            checked["start"]["memory_bytes"].as_u64().unwrap() > 0,
            "{checked}"
        );
    }
}

#[test]
fn a_new_plugin_takes_no_wrong_name_and_no_folder_that_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| run(folder.path(), arguments);
    run(&["plugin", "new", "My_Plugin"]).fails(2, &["My_Plugin", "lower-case"]);
    run(&["plugin", "new", "ping"]).fails(1, &["comes with peerup"]);
    let unknown = run(&["plugin", "new", "chess", "--template", "game"]);
    assert!(
        unknown.code == 2 && unknown.stderr.contains("tcp-service"),
        "{unknown:#?}"
    );
    let made = run(&["plugin", "new", "chess", "--dir", "work/chess", "--json"]).json();
    let files: Vec<&str> = made["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        files.len() < 10 && files.contains(&"tests/chess.yaml"),
        "{files:?}"
    );
    let before = fs::read(folder.path().join("work/chess/src/lib.rs")).unwrap();
    run(&[
        "plugin",
        "new",
        "chess",
        "--dir",
        "work/chess",
        "--template",
        "service",
    ])
    .fails(1, &["is there already"]);
    assert_eq!(
        fs::read(folder.path().join("work/chess/src/lib.rs")).unwrap(),
        before
    );
    let sdk = Path::new(made["sdk"].as_str().unwrap());
    assert!(
        sdk.starts_with(folder.path().join(".local/share/peerup/sdk")) && sdk.join("src/lib.rs").is_file()
    );
}

/// Makes the template `command` anew with a change to its library and to its manifest.
fn changed(folder: &Path, library: impl Fn(&str) -> String, manifest: impl Fn(&str) -> String) -> PathBuf {
    let project = folder.join("chess");
    run(folder, &["plugin", "new", "chess"]).ok();
    for (file, change) in [
        ("src/lib.rs", &library as &dyn Fn(&str) -> String),
        ("plugin.toml", &manifest),
    ] {
        let path = project.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(&text)).unwrap();
    }
    project
}

#[test]
fn a_right_that_is_used_but_not_declared_fails_the_build_with_the_line_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let project = changed(
        folder.path(),
        |text| {
            let connects = "peerup_plugin_sdk::tcp::connect(&name).await?;\n        let answer = greeting(";
            text.replace("let answer = greeting(", connects)
        },
        |text| {
            format!("{text}[[capability]]\nname = \"store\"\nreason = \"keeps games\"\nvalues = [\"1MB\"]\n")
        },
    );
    // The path to the SDK is written again where it is missing: a clone does not have it.
    fs::remove_dir_all(project.join(".cargo")).unwrap();
    let built = building(folder.path(), &["plugin", "build", "chess"]).fails(
        1,
        &[
            "used but not declared in plugin.toml: tcp.connect",
            "[[capability]] name = \"tcp.connect\"",
        ],
    );
    for row in [
        "tcp.connect  used but not declared  peerup:plugin/tcp#connect",
        "store        declared and not used",
    ] {
        assert!(built.stdout.contains(row), "{built:#?}");
    }
    assert!(project.join(".cargo/config.toml").is_file());
    let checked = building(folder.path(), &["plugin", "check", "chess", "--json"]);
    assert_eq!(checked.code, 1, "{checked:#?}");
    let report: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert!(
        findings(&report, "error")[0].starts_with("capability tcp.connect: "),
        "{report}"
    );
    assert!(
        findings(&report, "warning")[0].starts_with("capability store: "),
        "{report}"
    );
}

#[test]
fn code_that_does_not_compile_and_another_sdk_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let project = changed(folder.path(), |text| format!("{text}nonsense\n"), str::to_owned);
    let failed = building(folder.path(), &["plugin", "build", "chess"]).fails(1, &["chess does not build"]);
    assert!(
        failed.stderr.contains("src/lib.rs"),
        "what cargo said: {failed:#?}"
    );
    let cargo = project.join("Cargo.toml");
    let text = fs::read_to_string(&cargo).unwrap();
    fs::write(
        &cargo,
        text.replace("peerup-plugin-sdk = \"=", "peerup-plugin-sdk = \"=9"),
    )
    .unwrap();
    building(folder.path(), &["plugin", "build", "chess"])
        .fails(2, &["peerup-plugin-sdk", "this peerup carries"]);
}

#[test]
fn a_missing_toolchain_is_told_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["plugin", "new", "chess"]).ok();
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let with_tools = || {
        let mut command = bare(folder.path(), &["plugin", "build", "chess"]);
        command.env("PATH", &tools);
        Outcome::of(command)
    };
    with_tools().fails(1, &["cargo cannot be run", "https://rustup.rs"]);
    for (name, script) in [("cargo", "#!/bin/sh\n"), ("rustc", "#!/bin/sh\necho /nowhere\n")] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(tools.join(name), script).unwrap();
        fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    with_tools().fails(
        1,
        &[
            "cannot build for wasm32-wasip2",
            "next: rustup target add wasm32-wasip2",
        ],
    );
}

#[test]
fn a_script_builds_what_cargo_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let ping = peerup_bundle::BUNDLED
        .iter()
        .find(|one| one.name == "ping")
        .unwrap();
    write("plugin.toml", ping.manifest);
    fs::write(folder.path().join("ready"), ping.wasm).unwrap();
    write(
        "build.sh",
        "mkdir -p build && cp ready build/ping.wasm && echo built",
    );
    let built = run(folder.path(), &["plugin", "build", "--json"]);
    assert!(built.stderr.contains("built"), "{built:#?}");
    assert!(
        built.json()["component"]
            .as_str()
            .unwrap()
            .ends_with("build/ping.wasm")
    );
    run(folder.path(), &["plugin", "pack"]).ok();
    write("build.sh", "exit 7");
    run(folder.path(), &["plugin", "build"]).fails(1, &["build.sh failed", "7"]);
}

#[test]
fn a_component_for_another_contract_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let ping = peerup_bundle::BUNDLED
        .iter()
        .find(|one| one.name == "ping")
        .unwrap();
    fs::write(
        folder.path().join("plugin.toml"),
        ping.manifest.replace("0.1.1", "0.9.0"),
    )
    .unwrap();
    fs::write(folder.path().join("ping.wasm"), ping.wasm).unwrap();
    fs::write(folder.path().join("build.sh"), "true").unwrap();
    run(folder.path(), &["plugin", "build"]).fails(1, &["needs contract 0.9.0", "peerup version"]);
    let checked = run(folder.path(), &["plugin", "check"]);
    assert_eq!(checked.code, 1, "{checked:#?}");
    assert!(
        checked.stdout.contains("error: contract: plugin.toml says 0.9.0"),
        "{checked:#?}"
    );
}

#[test]
fn check_tells_every_mistake_of_a_manifest_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("plugin.toml"),
        "nmae = \"x\"\nversion = \"1\"\n",
    )
    .unwrap();
    let checked = run(folder.path(), &["plugin", "check"]).fails(1, &["errors"]);
    for text in [
        "error: plugin.toml:1:1: nmae",
        "did you mean `name`",
        "plugin.toml:2:11: version",
        "summary",
    ] {
        assert!(checked.stdout.contains(text), "{text}: {checked:#?}");
    }
}

#[test]
fn check_compares_rights_with_the_version_before() {
    let folder = tempfile::tempdir().unwrap();
    let text = |version: &str, value: &str| {
        format!(
            "name = \"chess\"\nversion = \"{version}\"\ncontract = \"0.1.1\"\nsummary = \"Plays.\"\n[[capability]]\n\
             name = \"tcp.connect\"\nreason = \"asks the engine\"\nvalues = [\"{value}\"]\n"
        )
    };
    let old = Package::pack(b"\0asm\x0d\0\x01\0", &text("0.1.0", "localhost:9000"), None).unwrap();
    fs::write(folder.path().join("old.peerup"), old.bytes()).unwrap();
    fs::write(
        folder.path().join("plugin.toml"),
        text("0.2.0", "localhost:9000-9001"),
    )
    .unwrap();
    let checked = run(folder.path(), &["plugin", "check", "--against", "old.peerup"]);
    let lines = "against 0.1.0:\n  > tcp.connect localhost:9000-9001 instead of localhost:9000\n";
    assert!(checked.stdout.contains(lines), "{checked:#?}");
    assert!(
        checked.stdout.contains("advice: component: it is not built"),
        "{checked:#?}"
    );
    checked.ok();
    // Without the flag it is the version that is installed here.
    let node = Node::init(folder.path(), "home");
    let old = folder.path().join("old.peerup");
    let project = folder.path().to_str().unwrap();
    node.run(&["plugin", "install", old.to_str().unwrap(), "--yes-as-declared"])
        .ok();
    assert!(node.run(&["plugin", "check", project]).ok().contains(lines));
    // An empty component can be packed, and no host can run it.
    let packed = run(folder.path(), &["plugin", "check", "old.peerup"]).fails(1, &["chess has"]);
    assert!(packed.stdout.contains("exports none of"), "{packed:#?}");
}

#[test]
fn plugins_that_come_with_peerup_ask_for_what_they_use() {
    for plugin in peerup_bundle::BUNDLED {
        let manifest = Manifest::parse(plugin.manifest).unwrap();
        let uses = capability_uses(&manifest, &Surface::read(plugin.wasm).unwrap());
        let odd: Vec<_> = uses.iter().filter(|one| one.status != UseStatus::Used).collect();
        assert!(odd.is_empty(), "{}: {odd:?}", plugin.name);
    }
}

#[test]
fn the_greeters_share_a_protocol_and_check_says_what_that_costs() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for language in ["rust", "c", "js", "python"] {
        let folder = tempfile::tempdir().unwrap();
        let manifest = fs::read(examples.join(format!("greeter-{language}/plugin.toml"))).unwrap();
        fs::write(folder.path().join("plugin.toml"), manifest).unwrap();
        let checked = run(folder.path(), &["plugin", "check"]);
        assert!(checked.stdout.contains(
            "advice: protocols: /peerup/p/greeter/hello/1.0.0 is in the name of the plugin greeter"
        ));
        assert!(
            checked
                .stdout
                .contains("--grant protocols=/peerup/p/greeter/hello/1.0.0"),
            "{checked:#?}"
        );
        checked.ok();
    }
}

/// Makes a plugin of a template, and its package.
fn packed(folder: &Path, template: &str) -> String {
    let name = format!("my-{template}");
    run(folder, &["plugin", "new", &name, "--template", template]).ok();
    building(folder, &["plugin", "build", &name]).ok();
    building(folder, &["plugin", "pack", &name]).ok();
    let path = folder.join(format!("{name}-0.1.0.peerup"));
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_the_templates_make_works_between_two_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let mut pair = Pair::prepare();
    let install = |node: &Node, template: &str| {
        let file = packed(folder.path(), template);
        fs::remove_dir_all(folder.path().join(format!("my-{template}"))).unwrap();
        node.run(&["plugin", "install", &file, "--yes-as-declared"]).ok();
    };
    install(&pair.home, "command");
    install(&pair.home, "tcp-service");
    pair.home
        .replace("  echo:\n", "  echo:\n    plugin: my-tcp-service\n");
    install(&pair.laptop, "command");
    install(&pair.laptop, "service");
    install(&pair.laptop, "resolver");
    pair.laptop.edit(|text| {
        let settings = "  my-resolver:\n    settings: { names: 'storage=home' }\n";
        format!(
            "{}resolvers: [names-local, my-resolver]\n",
            text.replace("  my-resolver:\n", settings)
        )
    });
    pair.home.start();
    pair.laptop.start();

    let greeted = command(
        &pair.laptop,
        "my-command",
        "greet",
        r#"{"peer": "home", "name": "Ada"}"#,
    );
    assert!(greeted.contains("hello Ada, you are laptop"), "{greeted}");
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(Client::connect(&address).echoes());
    let home = pair.home.peer_id();
    let resolved = pair.laptop.run(&["resolve", "storage"]).ok();
    assert_eq!(resolved, format!("{home} (my-resolver)"));
    let up = command(&pair.laptop, "my-service", "uptime", "{}");
    assert!(up.contains(r#""minutes":0"#), "{up}");
}
