//! Installing with stand-ins for `systemctl` and `launchctl`, into folders of the test.

use super::*;

const RELAY: Service = Service {
    name: "relay-server",
    unit: include_str!("../../../../packaging/systemd/relay-server.service"),
    label: "org.peerup.relay-server",
    plist: include_str!("../../../../packaging/launchd/org.peerup.relay-server.plist"),
    user: "peerup-relay",
    folder: "etc/peerup-relay",
};
const DAEMON: Service = Service {
    name: "peerup",
    unit: include_str!("../../../../packaging/systemd/user/peerup.service"),
    label: "org.peerup.daemon",
    plist: include_str!("../../../../packaging/launchd/org.peerup.daemon.plist"),
    user: "peerup",
    folder: "etc/peerup",
};

/// A system that writes down what it is asked for, and knows one service of launchd.
#[derive(Default)]
struct FakeSystem {
    asked: Vec<String>,
    loaded: bool,
    /// How many looks a service that was told to end is still there for.
    lingers_for: u32,
    pauses: u32,
    is_ending: bool,
    lingering: &'static str,
}

impl FakeSystem {
    /// Returns what was asked for since the last time, without looks at versions.
    fn asked(&mut self) -> Vec<String> {
        let asked = std::mem::take(&mut self.asked);
        asked
            .into_iter()
            .filter(|call| !call.ends_with("--version"))
            .collect()
    }
}

impl System for FakeSystem {
    fn run(&mut self, program: &str, arguments: &[String]) -> Result<String, InstallError> {
        let command = format!("{program} {}", arguments.join(" "));
        self.asked.push(command.clone());
        let holds = match (program, arguments.first().map(String::as_str)) {
            ("launchctl", Some("print")) => {
                if self.is_ending && self.lingers_for == 0 {
                    (self.loaded, self.is_ending) = (false, false);
                }
                self.lingers_for = self.lingers_for.saturating_sub(1);
                self.loaded
            }
            ("launchctl", Some("bootout")) => {
                self.is_ending = true;
                self.loaded
            }
            ("launchctl", Some("bootstrap")) => !std::mem::replace(&mut self.loaded, true),
            _ => true,
        };
        match (holds, program, arguments.last().map(String::as_str)) {
            (false, ..) => Err(InstallError::Command {
                command,
                why: "no".to_owned(),
            }),
            (true, "systemctl", Some("--version")) => Ok("systemd 257 (257)".to_owned()),
            (true, "loginctl", _) => Ok(format!("{}\n", self.lingering)),
            (true, "id", _) => Ok("ada\n".to_owned()),
            (true, ..) => Ok("\tstate = running\n".to_owned()),
        }
    }

    fn pause(&mut self) {
        self.pauses += 1;
    }
}

fn user_of(home: &Path, manager: Manager) -> Installer {
    Installer {
        manager,
        scope: Scope::User(User {
            id: 501,
            home: home.to_owned(),
            folder: home.join("xdg/peerup"),
        }),
    }
}

fn machine(root: &Path, manager: Manager) -> Installer {
    let (root, prefix) = (root.to_owned(), PathBuf::from("/opt/peerup"));
    Installer {
        manager,
        scope: Scope::Machine { root, prefix },
    }
}

fn no_config(_: &Path) -> Result<Option<String>, Failure> {
    Ok(None)
}

fn problems(findings: &[Finding]) -> Vec<&Finding> {
    findings
        .iter()
        .filter(|finding| finding.problem.is_some())
        .collect()
}

#[test]
fn a_unit_follows_the_program_and_the_version_of_systemd() {
    let unit = |program: &str, version| systemd::unit(&RELAY, Path::new(program), None, version);
    let new = unit("/opt/peerup/bin/relay-server", Some(257));
    assert!(
        new.contains("ExecStart=/opt/peerup/bin/relay-server serve"),
        "{new}"
    );
    assert!(
        new.contains("\nType=notify-reload\n") && !new.contains("ExecReload"),
        "{new}"
    );
    let old = unit("/usr/local/bin/relay-server", Some(252));
    assert!(old.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"), "{old}");
    assert!(!old.contains("\nType=notify-reload\n"), "{old}");
    assert_eq!(unit("/usr/local/bin/relay-server", None), RELAY.unit);
    let odd = unit("/opt/100% ours/bin/relay-server", None);
    assert!(
        odd.contains("ExecStart=\"/opt/100%% ours/bin/relay-server\" serve"),
        "{odd}"
    );
}

#[test]
fn a_users_service_is_put_in_place_by_the_users_own_manager() {
    let home = tempfile::tempdir().unwrap();
    let installer = user_of(home.path(), Manager::Systemd);
    let mut system = FakeSystem::default();

    installer.install_on(&mut system, &DAEMON, no_config).unwrap();

    assert_eq!(
        system.asked(),
        [
            "systemctl --user daemon-reload",
            "systemctl --user enable peerup.service",
            "systemctl --user restart peerup.service",
        ]
    );
    let at = |path: &str| home.path().join(path);
    let unit = fs::read_to_string(at(".config/systemd/user/peerup.service")).unwrap();
    let start = format!(
        "ExecStart={} daemon --config {}\n",
        at(".local/bin/peerup").display(),
        at("xdg/peerup/config.yaml").display()
    );
    assert!(unit.contains(&start), "{unit}");
    assert_eq!(
        fs::metadata(at("xdg/peerup")).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let findings = installer.check_on(&mut system, &DAEMON);
    assert_eq!(problems(&findings), [] as [&Finding; 0]);
    assert_eq!(system.asked(), ["systemctl --user is-active peerup.service"]);

    installer.uninstall_on(&mut system, &DAEMON).unwrap();

    assert_eq!(
        system.asked(),
        [
            "systemctl --user disable --now peerup.service",
            "systemctl --user daemon-reload",
        ]
    );
    assert!(!at(".local/bin/peerup").exists() && !at(".config/systemd/user/peerup.service").exists());
    assert!(at("xdg/peerup").exists());
}

#[test]
fn a_user_without_lingering_is_told_how_to_have_it() {
    let installer = user_of(Path::new("/home/ada"), Manager::Systemd);
    let mut system = FakeSystem {
        lingering: "yes",
        ..FakeSystem::default()
    };
    assert_eq!(installer.session_note_on(&mut system), None);
    system.lingering = "no";
    let note = installer.session_note_on(&mut system).unwrap();
    assert!(note.ends_with("loginctl enable-linger ada"), "{note}");
    let of_machine = machine(Path::new("/"), Manager::Systemd);
    assert_eq!(of_machine.session_note_on(&mut system), None);
}

#[test]
fn launchd_is_told_to_load_to_restart_or_to_load_anew() {
    let home = tempfile::tempdir().unwrap();
    let installer = user_of(home.path(), Manager::Launchd);
    let mut system = FakeSystem::default();
    let plist = home.path().join("Library/LaunchAgents/org.peerup.daemon.plist");
    let bootstrap = format!("launchctl bootstrap gui/501 {}", plist.display());
    let (print, enable) = (
        "launchctl print gui/501/org.peerup.daemon",
        "launchctl enable gui/501/org.peerup.daemon",
    );

    installer.install_on(&mut system, &DAEMON, no_config).unwrap();
    assert_eq!(system.asked(), [print, enable, &bootstrap]);
    assert_eq!(
        problems(&installer.check_on(&mut system, &DAEMON)),
        [] as [&Finding; 0]
    );
    system.asked();

    installer.install_on(&mut system, &DAEMON, no_config).unwrap();
    let kickstart = "launchctl kickstart -k gui/501/org.peerup.daemon";
    assert_eq!(system.asked(), [print, enable, kickstart]);

    fs::write(&plist, "of another release").unwrap();
    assert_eq!(problems(&installer.check_on(&mut system, &DAEMON)).len(), 1);
    system.asked();
    system.lingers_for = 2;
    installer.install_on(&mut system, &DAEMON, no_config).unwrap();
    let bootout = "launchctl bootout gui/501/org.peerup.daemon";
    assert_eq!(system.asked(), [print, bootout, print, print, enable, &bootstrap]);
    assert_eq!(system.pauses, 1);

    installer.uninstall_on(&mut system, &DAEMON).unwrap();
    assert_eq!(system.asked(), [print, bootout, print]);
    assert!(!plist.exists() && !home.path().join(".local/bin/peerup").exists());
    assert!(home.path().join("xdg/peerup").exists());
}

#[test]
fn a_service_of_launchd_that_does_not_end_is_named_with_the_next_step() {
    let home = tempfile::tempdir().unwrap();
    let installer = user_of(home.path(), Manager::Launchd);
    let mut system = FakeSystem {
        loaded: true,
        lingers_for: u32::MAX,
        ..FakeSystem::default()
    };
    let refused = installer.uninstall_on(&mut system, &DAEMON).unwrap_err();
    assert_eq!(refused.message, "gui/501/org.peerup.daemon does not end");
    let hint = refused.hint.unwrap();
    assert!(
        hint.contains("launchctl print gui/501/org.peerup.daemon"),
        "{hint}"
    );
    assert_eq!(system.pauses, END_TRIES);
}

#[test]
fn a_property_list_follows_the_home_and_has_nothing_left_of_the_usual_places() {
    let installer = user_of(Path::new("/Users/Ada & Co"), Manager::Launchd);
    let text = Layout::new(&installer, &DAEMON, Facts::default()).text;
    for wanted in [
        "<string>/Users/Ada &amp; Co/.local/bin/peerup</string>",
        "<string>/Users/Ada &amp; Co/xdg/peerup/config.yaml</string>",
        "<string>/Users/Ada &amp; Co/Library/Logs/peerup.log</string>",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!text.contains("/usr/local/"), "{text}");
    let usual = Scope::Machine {
        root: "/".into(),
        prefix: "/usr/local".into(),
    };
    let usual = Installer {
        manager: Manager::Launchd,
        scope: usual,
    };
    assert_eq!(Layout::new(&usual, &RELAY, Facts::default()).text, RELAY.plist);
}

#[test]
fn launchd_starts_a_service_of_the_machine_after_its_files_are_there() {
    let installer = machine(Path::new("/"), Manager::Launchd);
    let layout = Layout::new(&installer, &RELAY, Facts::default());
    let definition = "/Library/LaunchDaemons/org.peerup.relay-server.plist";
    let call = |arguments: &[&str]| Step::Run(Call::new("launchctl", arguments));
    assert_eq!(
        plan::install(&installer, &RELAY, &layout, Facts::default()),
        [
            Step::Program("/opt/peerup/bin/relay-server".into()),
            Step::PrivateFolder("/usr/local/etc/peerup-relay".into()),
            Step::Config("/usr/local/etc/peerup-relay".into()),
            Step::Folder("/usr/local/var/log".into()),
            Step::Write {
                path: definition.into(),
                content: layout.text.clone()
            },
            call(&["enable", "system/org.peerup.relay-server"]),
            call(&["bootstrap", "system", definition]),
            Step::Say("started org.peerup.relay-server".to_owned()),
        ]
    );
}

#[test]
fn an_image_for_launchd_gets_the_files_and_nothing_is_started() {
    let root = tempfile::tempdir().unwrap();
    let installer = machine(root.path(), Manager::Launchd);
    let mut system = FakeSystem::default();
    installer.install_on(&mut system, &RELAY, no_config).unwrap();
    assert_eq!(system.asked(), [] as [&str; 0]);
    let plist = root
        .path()
        .join("Library/LaunchDaemons/org.peerup.relay-server.plist");
    let text = fs::read_to_string(plist).unwrap();
    assert!(
        text.contains("<string>/opt/peerup/bin/relay-server</string>"),
        "{text}"
    );
    assert!(root.path().join("opt/peerup/bin/relay-server").exists());
    assert_eq!(
        problems(&installer.check_on(&mut system, &RELAY)),
        [] as [&Finding; 0]
    );
}

#[test]
fn a_file_system_that_is_read_only_is_not_answered_with_root() {
    let installer = machine(Path::new("/"), Manager::Systemd);
    let hint = |path: &str, kind: io::ErrorKind| {
        installer.next_step(&InstallError::File {
            doing: "write",
            path: path.into(),
            source: kind.into(),
        })
    };
    let program = hint(
        "/opt/peerup/bin/relay-server.new",
        io::ErrorKind::ReadOnlyFilesystem,
    );
    assert!(program.contains("--prefix DIR"), "{program}");
    let unit = hint(
        "/etc/systemd/system/relay-server.service",
        io::ErrorKind::ReadOnlyFilesystem,
    );
    assert!(unit.contains("mount the file system of /etc/systemd"), "{unit}");
    let denied = hint(
        "/opt/peerup/bin/relay-server.new",
        io::ErrorKind::PermissionDenied,
    );
    assert!(denied.starts_with("run it as root"), "{denied}");
}
