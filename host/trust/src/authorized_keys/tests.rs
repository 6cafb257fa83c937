//! The document, and the file on disk.

use std::{fs, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{KeyFile, KeyFileError};

const A: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const B: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";

fn peer(text: &str) -> PeerId {
    text.parse().unwrap()
}

fn line_error(text: &str) -> (usize, String) {
    match AuthorizedKeys::parse(text) {
        Err(AuthorizedKeysError::Line { line, reason }) => (line, reason.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_all_attributes_and_comments() {
    let text = format!(
        "# mine\n\n  {A}\texpires=2030-01-31T12:00:00+01:00 verified=sha256:0123abcd role=admin services=web,ssh # a # b\r\n{B}#x\n"
    );
    let keys = AuthorizedKeys::parse(&text).unwrap();
    let first = keys.get(&peer(A)).unwrap();
    assert_eq!(first.expires, Some("2030-01-31T11:00:00Z".parse().unwrap()));
    assert_eq!(first.services.as_ref().unwrap().len(), 2);
    assert_eq!(first.role, MemberRole::Admin);
    assert_eq!(first.verified.as_deref(), Some("sha256:0123abcd"));
    assert_eq!(first.comment.as_deref(), Some("a # b"));
    assert_eq!(keys.get(&peer(B)).unwrap().comment.as_deref(), Some("x"));
    assert_eq!(keys.to_string(), text);
    assert_eq!(
        first.to_string(),
        format!(
            "{A} expires=2030-01-31T11:00:00Z services=web,ssh role=admin verified=sha256:0123abcd  # a # b"
        )
    );
}

#[test]
fn one_bad_line_fails_the_load_and_is_named() {
    let cases = [
        ("nonsense", "not a peer id"),
        (&format!("{A} {B}"), "not an attribute"),
        (
            &format!("{A} expire=2030-01-01T00:00:00Z"),
            "did you mean expires=?",
        ),
        (&format!("{A} roll=admin"), "did you mean role=?"),
        (&format!("{A} SERVICE=web"), "did you mean services=?"),
        (&format!("{A} expires=tomorrow"), "not a moment"),
        (&format!("{A} expires="), "not a moment"),
        (&format!("{A} expires=2030-01-01"), "not a moment"),
        (&format!("{A} role=root"), "neither member nor admin"),
        (&format!("{A} role=admin role=member"), "stands twice"),
        (&format!("{A} services="), "names no service"),
        (&format!("{A} services=we_b"), "services:"),
        (&format!("{A} services=ping"), "services:"),
        (&format!("{A} verified=sha256:xyz"), "hexadecimal"),
        (&format!("{A} verified=md5:0123456789"), "hexadecimal"),
        (&format!("{A} # {}", "x".repeat(MAX_KEYS_LINE)), "bytes"),
    ];
    for (bad, reason) in cases {
        let (line, said) = line_error(&format!("# one\n\n{bad}\n{B}\n"));
        assert_eq!(line, 3, "{bad}");
        assert!(said.contains(reason), "{bad}: {said}");
    }
}

#[test]
fn an_error_never_carries_control_characters() {
    let (_, said) = line_error("bad\u{1b}[2J\u{202e}id");
    assert!(said.chars().all(crate::text::is_plain), "{said:?}");
}

#[test]
fn the_same_peer_in_two_forms_is_a_duplicate_with_both_lines() {
    let cid = [&[1, 0x72][..], &peer(A).to_bytes()].concat();
    let cid = format!("b{}", data_encoding::BASE32_NOPAD.encode(&cid).to_lowercase());
    assert_eq!(
        AuthorizedKeys::parse(&format!("{A}\n# x\n{cid}\n")),
        Err(AuthorizedKeysError::Duplicate {
            peer: peer(A),
            first: 1,
            second: 3
        })
    );
}

#[test]
fn editing_keeps_what_the_person_wrote() {
    let text = format!("# head\n\n{A}   role=member   #  mine \n\n# tail");
    let mut keys = AuthorizedKeys::parse(&text).unwrap();
    keys.add(Entry::new(peer(B)).with_comment("new\n# not a line"))
        .unwrap();
    let added = format!("{text}\n{B}  # new# not a line\n");
    assert_eq!(keys.to_string(), added);
    assert_eq!(
        keys.add(Entry::new(peer(B))),
        Err(AuthorizedKeysError::AlreadyPresent(peer(B)))
    );
    let admin = Entry {
        role: MemberRole::Admin,
        ..Entry::new(peer(A))
    };
    assert_eq!(keys.set(admin).unwrap().unwrap().comment.as_deref(), Some("mine"));
    assert!(
        keys.to_string()
            .starts_with(&format!("# head\n\n{A} role=admin\n\n# tail\n"))
    );
    assert!(keys.remove(&peer(A)) && !keys.remove(&peer(A)));
    assert_eq!(
        keys.to_string(),
        format!("# head\n\n\n# tail\n{B}  # new# not a line\n")
    );
}

#[test]
fn refuses_entries_that_no_line_can_hold() {
    let mut keys = AuthorizedKeys::default();
    let none = Entry {
        services: Some(vec![]),
        ..Entry::new(peer(A))
    };
    assert_eq!(keys.add(none), Err(EntryError::NoServices.into()));
    let broken = Entry {
        verified: Some("sha256:01234567\nrole=admin".into()),
        ..Entry::new(peer(A))
    };
    assert!(matches!(
        keys.add(broken),
        Err(AuthorizedKeysError::Entry(EntryError::Verified(_)))
    ));
    assert!(keys.is_empty());
}

#[test]
fn size_and_count_are_bounded() {
    let large = "#".repeat(MAX_KEYS_LINE - 1) + "\n";
    let text = large.repeat(MAX_KEYS_BYTES / large.len() + 1);
    assert!(matches!(
        AuthorizedKeys::parse(&text),
        Err(AuthorizedKeysError::TooLarge(_))
    ));
    let mut keys = AuthorizedKeys::parse(&text[..MAX_KEYS_BYTES - 10]).unwrap();
    assert!(matches!(
        keys.add(Entry::new(peer(A))),
        Err(AuthorizedKeysError::TooLarge(_))
    ));
    let many: String = (0..=MAX_KEYS_ENTRIES)
        .map(|_| format!("{}\n", PeerId::random()))
        .collect();
    assert_eq!(
        AuthorizedKeys::parse(&many),
        Err(AuthorizedKeysError::TooManyEntries)
    );
}

#[test]
fn empty_documents_and_a_byte_order_mark_are_read() {
    for text in ["", "\n", "\n\n", "\u{feff}# x\n", "   \t\n"] {
        let keys = AuthorizedKeys::parse(text).unwrap();
        assert!(keys.is_empty());
        assert_eq!(keys.to_string(), text);
    }
    assert_eq!(AuthorizedKeys::parse(&format!("\u{feff}{A}")).unwrap().len(), 1);
}

#[test]
fn a_missing_file_is_its_own_error_and_the_first_add_creates_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("authorized_keys"));
    assert!(matches!(file.load(), Err(KeyFileError::Missing { .. })));
    assert!(file.load_or_empty().unwrap().is_empty());
    assert_eq!(file.remove(&peer(A)).unwrap(), None);
    assert!(!file.path().exists(), "removing nothing writes nothing");
    file.add(Entry::new(peer(A))).unwrap();
    assert_eq!(fs::read_to_string(file.path()).unwrap(), format!("{A}\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            fs::metadata(file.path()).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn the_file_gets_its_missing_newline_and_keeps_its_comments() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("authorized_keys"));
    fs::write(file.path(), format!("# friends\n{A} # laptop")).unwrap();
    file.add(Entry::new(peer(B))).unwrap();
    assert_eq!(
        fs::read_to_string(file.path()).unwrap(),
        format!("# friends\n{A} # laptop\n{B}\n")
    );
    let gone = file.remove(&peer(A)).unwrap().unwrap();
    assert_eq!(gone.comment.as_deref(), Some("laptop"));
    assert_eq!(
        fs::read_to_string(file.path()).unwrap(),
        format!("# friends\n{B}\n")
    );
}

#[test]
fn a_bad_line_fails_every_edit_and_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("authorized_keys"));
    for (content, reason) in [
        (&b"# x\nbroken\n"[..], "line 2:"),
        (&b"# x\n\n\xff\xfe\n"[..], "line 3:"),
    ] {
        fs::write(file.path(), content).unwrap();
        let errors = [
            file.add(Entry::new(peer(A))).unwrap_err(),
            file.remove(&peer(A)).unwrap_err(),
            file.load().unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert_eq!(fs::read(file.path()).unwrap(), content);
    }
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    fs::write(&real, "# x\n").unwrap();
    let link = folder.path().join("authorized_keys");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    KeyFile::new(&link).add(Entry::new(peer(A))).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), format!("# x\n{A}\n"));
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("absent/authorized_keys"));
    assert!(matches!(
        file.add(Entry::new(peer(A))),
        Err(KeyFileError::Lock { .. })
    ));
}

/// Runs itself once more in a process that may not make a file longer than nothing, as on a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_the_old_file_stays() {
    const FOLDER: &str = "PEERUP_TRUST_FULL_DISK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let file = KeyFile::new(std::path::Path::new(&folder).join("authorized_keys"));
        assert!(matches!(
            file.add(Entry::new(peer(A))),
            Err(KeyFileError::Write { .. })
        ));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authorized_keys");
    fs::write(&path, "# precious\n").unwrap();
    let status = std::process::Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 0; exec \"$0\" --exact \"$1\" --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg("authorized_keys::tests::a_full_disk_is_an_error_and_the_old_file_stays")
        .env(FOLDER, folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("1 passed"),
        "{status:?}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "# precious\n");
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
}

#[test]
fn concurrent_edits_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = Arc::new(KeyFile::new(folder.path().join("authorized_keys")));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let file = Arc::clone(&file);
            std::thread::spawn(move || {
                for _ in 0..5 {
                    file.add(Entry::new(PeerId::random())).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(file.load().unwrap().len(), 40);
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
}

fn entries() -> impl Strategy<Value = Entry> {
    (
        proptest::option::of(-1_000_000_000_i64..200_000_000_000),
        proptest::option::of(prop::collection::vec("[a-z0-9]{8,20}", 1..5)),
        any::<bool>(),
        proptest::option::of("sha256:[0-9a-f]{8,64}"),
        proptest::option::of(any::<String>()),
    )
        .prop_map(|(expires, services, admin, verified, comment)| Entry {
            expires: expires.map(|second| Timestamp::from_second(second).unwrap()),
            services: services.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
            role: if admin {
                MemberRole::Admin
            } else {
                MemberRole::Member
            },
            verified,
            comment,
            ..Entry::new(PeerId::random())
        })
}

proptest! {
    #[test]
    fn what_is_added_is_read_again(entries in prop::collection::vec(entries(), 0..6), head in "(# [a-z]{0,10}\n|\n){0,3}") {
        let mut keys = AuthorizedKeys::parse(&head).unwrap();
        for entry in &entries {
            keys.add(entry.clone()).unwrap();
        }
        let again = AuthorizedKeys::parse(&keys.to_string()).unwrap();
        prop_assert_eq!(&again, &keys);
        for entry in entries {
            let read = again.get(&entry.peer).unwrap();
            prop_assert_eq!(read, &entry.checked().unwrap());
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        crate::fuzzing::authorized_keys(text.as_bytes());
    }

    #[test]
    fn no_line_makes_it_panic(text in "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5[ a-z=,#:0-9\\-TZ]{0,60}") {
        crate::fuzzing::authorized_keys(text.as_bytes());
    }
}
