//! The rows of the matrix: what is called on what, and what it must come to in each column.

/// The host's own side of `protocols`: a peer opens a stream, and the plugin is asked to serve it.
pub(super) const SERVE: &str = "inbound";

/// Functions of the contract that need no grant, or whose grant was needed for the handle that they are called on.
pub(super) const FREE: &[&str] = &[
    "streams.duplex.receive",
    "streams.duplex.send",
    "streams.duplex.reset",
    "streams.duplex.peer",
    "streams.duplex.path",
    "tcp.listener.local-address",
    "tcp.listener.accept",
    "udp.socket.local-address",
    "udp.socket.receive",
    "events.subscription.next",
    "settings.get",
    "log.emit",
    "output.emit",
    "life.stopping",
    "life.settings-changed",
];

/// What a call must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is denied, and one denial is counted.
    Denied,
    /// It succeeds with these words.
    Passes(&'static str),
    /// It is let through; whether it succeeds is the system's.
    ReachesTheSystem,
    /// What is not granted does not exist.
    Absent,
    /// It meets the size that is granted.
    Limit,
}

/// A column: what must come of it, and what is granted, as the config has it in JSON.
type Column = Option<(Expected, &'static str)>;

/// A call, in three columns. `/srv` and `127.0.0.1:9000` stand for the test's own folder and server.
pub(super) struct Row {
    /// The right that it needs.
    pub(super) capability: &'static str,
    /// What is called.
    pub(super) call: &'static str,
    /// On what.
    pub(super) on: &'static str,
    /// The first version of the contract that has it.
    pub(super) since: &'static str,
    pub(super) none: Expected,
    pub(super) elsewhere: Column,
    pub(super) granted: Column,
}

impl Row {
    /// Whether the call is a function of the contract, and not the host's or WASI's.
    pub(super) fn of_contract(&self) -> bool {
        self.call != SERVE && !self.call.starts_with("wasi ")
    }

    fn since_0_1_1(mut self) -> Self {
        self.since = "0.1.1";
        self
    }

    fn without(mut self, none: Expected) -> Self {
        self.none = none;
        self
    }

    fn elsewhere(mut self, expected: Expected, grants: &'static str) -> Self {
        self.elsewhere = Some((expected, grants));
        self
    }

    fn granted(mut self, expected: Expected, grants: &'static str) -> Self {
        self.granted = Some((expected, grants));
        self
    }
}

fn row(capability: &'static str, call: &'static str, on: &'static str) -> Row {
    Row {
        capability,
        call,
        on,
        since: "0.1.0",
        none: Expected::Denied,
        elsewhere: None,
        granted: None,
    }
}

/// Every row, in the order of the document.
pub(super) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(protocols());
    rows.extend(core_protocols());
    rows.extend(sockets());
    rows.extend(classes());
    rows.extend(stored());
    rows.extend(files());
    rows.extend(names());
    rows.extend(peers());
    rows
}

fn protocols() -> Vec<Row> {
    use Expected::{Denied, Passes};
    let told = |call| match call {
        SERVE => "the stream",
        _ => "a stream",
    };
    let mut rows = Vec::new();
    for call in ["streams.open", SERVE] {
        let passes = Passes(told(call));
        rows.push(
            row("protocols", call, "/peerup/web/1.0.0")
                .elsewhere(Denied, r#"{"protocols": ["/peerup/other/1.0.0"]}"#)
                .granted(passes, r#"{"protocols": ["/peerup/web/1.0.0"]}"#),
        );
        rows.push(
            row("protocols", call, "/peerup/p/other/x/1.0.0")
                .elsewhere(Denied, r#"{"protocols": ["/peerup/*/1.0.0"]}"#)
                .granted(passes, r#"{"protocols": ["/peerup/p/other/x/1.0.0"]}"#),
        );
        rows.push(row("protocols", call, "/peerup/p/probe/x/1.0.0").without(passes));
    }
    rows
}

fn core_protocols() -> Vec<Row> {
    macro_rules! never {
        ($($id:literal),+) => {
            [$((
                $id,
                concat!(r#"{"protocols": [""#, $id, r#""]}"#),
            )),+]
        };
    }
    let core = never!(
        "/peerup/admit/1.0.0",
        "/peerup/invite/2.0.0",
        "/peerup/kad/1.0.0",
        "/peerup/names/1.0.0",
        "/peerup/core/reach/1.0.0",
        "/libp2p/dcutr"
    );
    let each = |call: &'static str| {
        core.map(|(id, written)| {
            row("protocols of the core", call, id)
                .elsewhere(Expected::Denied, r#"{"protocols": ["/peerup/*/1.0.0"]}"#)
                .granted(Expected::Denied, written)
        })
    };
    each("streams.open").into_iter().chain(each(SERVE)).collect()
}

fn sockets() -> Vec<Row> {
    use Expected::{Denied, Passes};
    vec![
        row("tcp.connect", "tcp.connect", "127.0.0.1:9000")
            .elsewhere(
                Denied,
                r#"{"tcp": {"connect": ["127.0.0.1:1"], "listen": ["127.0.0.1:*"]}}"#,
            )
            .granted(
                Passes("a connection"),
                r#"{"tcp": {"connect": ["127.0.0.1:9000"]}}"#,
            ),
        row("tcp.listen", "tcp.listen", "127.0.0.1:0")
            .elsewhere(
                Denied,
                r#"{"tcp": {"listen": ["127.0.0.1:1"], "connect": ["127.0.0.1:*"]}}"#,
            )
            .granted(Passes("a listener"), r#"{"tcp": {"listen": ["127.0.0.1:*"]}}"#),
        row("udp.bind", "udp.bind", "127.0.0.1:0")
            .elsewhere(
                Denied,
                r#"{"udp": {"bind": ["127.0.0.1:1"], "connect": ["127.0.0.1:*"]}}"#,
            )
            .granted(Passes("a socket"), r#"{"udp": {"bind": ["127.0.0.1:*"]}}"#)
            .since_0_1_1(),
        row("udp.connect", "udp.connect", "127.0.0.1:9")
            .elsewhere(
                Denied,
                r#"{"udp": {"connect": ["127.0.0.1:1"], "bind": ["127.0.0.1:*"]}}"#,
            )
            .granted(Passes("a socket"), r#"{"udp": {"connect": ["127.0.0.1:9"]}}"#)
            .since_0_1_1(),
        // What binds is denied without `udp.bind`, so that the two columns behind it are what this row is about.
        row("udp.connect", "udp.socket.send", "127.0.0.1:9")
            .elsewhere(
                Denied,
                r#"{"udp": {"bind": ["127.0.0.1:*"], "connect": ["127.0.0.1:1"]}}"#,
            )
            .granted(
                Passes("sent"),
                r#"{"udp": {"bind": ["127.0.0.1:*"], "connect": ["127.0.0.1:9"]}}"#,
            )
            .since_0_1_1(),
    ]
}

/// A host name that is granted and leads to an address that no name may lead to unseen.
fn classes() -> Vec<Row> {
    use Expected::{Denied, ReachesTheSystem};
    macro_rules! class {
        ($host:literal, $class:literal, $address:literal) => {
            [
                row($class, "tcp.connect", concat!($host, ".example:9")).elsewhere(
                    Denied,
                    concat!(r#"{"tcp": {"connect": [""#, $host, r#".example:9"]}}"#),
                ),
                row($class, "tcp.listen", concat!($host, ".example:0"))
                    .elsewhere(
                        Denied,
                        concat!(r#"{"tcp": {"listen": [""#, $host, r#".example:*"]}}"#),
                    )
                    .granted(
                        ReachesTheSystem,
                        concat!(
                            r#"{"tcp": {"listen": [""#,
                            $host,
                            r#".example:*", ""#,
                            $address,
                            r#":*"]}}"#
                        ),
                    ),
                row($class, "udp.bind", concat!($host, ".example:0"))
                    .elsewhere(
                        Denied,
                        concat!(r#"{"udp": {"bind": [""#, $host, r#".example:*"]}}"#),
                    )
                    .granted(
                        ReachesTheSystem,
                        concat!(
                            r#"{"udp": {"bind": [""#,
                            $host,
                            r#".example:*", ""#,
                            $address,
                            r#":*"]}}"#
                        ),
                    )
                    .since_0_1_1(),
                row($class, "udp.connect", concat!($host, ".example:9"))
                    .elsewhere(
                        Denied,
                        concat!(r#"{"udp": {"connect": [""#, $host, r#".example:9"]}}"#),
                    )
                    .granted(
                        ReachesTheSystem,
                        concat!(
                            r#"{"udp": {"connect": [""#,
                            $host,
                            r#".example:9", ""#,
                            $address,
                            r#":9"]}}"#
                        ),
                    )
                    .since_0_1_1(),
            ]
        };
    }
    let mut rows: Vec<Row> = [
        class!("loopback", "a name that leads to loopback", "127.0.0.1"),
        class!("link-local", "a name that leads to the link", "169.254.7.7"),
        class!(
            "metadata",
            "a name that leads to a cloud's metadata",
            "169.254.169.254"
        ),
        class!(
            "unspecified",
            "a name that leads to no address in particular",
            "0.0.0.0"
        ),
        class!("multicast", "a name that leads to many machines", "224.0.0.1"),
    ]
    .into_iter()
    .flatten()
    .collect();
    // The other ones would send packets to machines that are not this one.
    for row in &mut rows {
        if row.call == "tcp.connect" && row.on.starts_with("loopback.") {
            row.granted = Some((
                ReachesTheSystem,
                r#"{"tcp": {"connect": ["loopback.example:9", "127.0.0.1:9"]}}"#,
            ));
        }
    }
    rows
}

fn stored() -> Vec<Row> {
    use Expected::{Limit, Passes};
    let small = r#"{"store": "1B"}"#;
    let enough = r#"{"store": "10MB"}"#;
    vec![
        row("store", "store.get", "key")
            .granted(Passes("an answer"), enough)
            .since_0_1_1(),
        row("store", "store.apply", "key")
            .elsewhere(Limit, small)
            .granted(Passes("kept"), enough)
            .since_0_1_1(),
        row("store", "store.apply-if", "key")
            .granted(Passes("kept"), enough)
            .since_0_1_1(),
        row("store", "store.keys", "key")
            .granted(Passes("an answer"), enough)
            .since_0_1_1(),
    ]
}

fn files() -> Vec<Row> {
    use Expected::{Absent, Passes};
    let read = r#"{"directories": [{"path": "/srv/granted", "as": "/data", "access": "ro"}]}"#;
    let write = r#"{"directories": [{"path": "/srv/granted", "as": "/data", "access": "rw"}]}"#;
    let other = r#"{"directories": [{"path": "/srv/other", "as": "/other", "access": "rw"}]}"#;
    let hidden = |call, on| row("directories", call, on).without(Absent);
    vec![
        hidden("wasi read", "/data/file")
            .elsewhere(Absent, other)
            .granted(Passes("the file"), read),
        hidden("wasi write", "/data/new")
            .elsewhere(Absent, read)
            .granted(Passes("written"), write),
        hidden("wasi read", "/data/../other/file")
            .elsewhere(Absent, other)
            .granted(Absent, write),
        hidden("wasi write", "/data/../other/file")
            .elsewhere(Absent, read)
            .granted(Absent, write),
        row("environment", "wasi variable", "CARGO_MANIFEST_DIR")
            .without(Absent)
            .elsewhere(Absent, r#"{"environment": ["PATH"]}"#)
            .granted(Passes("the value"), r#"{"environment": ["CARGO_MANIFEST_DIR"]}"#),
    ]
}

fn names() -> Vec<Row> {
    use Expected::{Denied, Passes};
    let (resolve, list) = (r#"{"names": ["resolve"]}"#, r#"{"names": ["list"]}"#);
    vec![
        row("names.resolve", "names.resolve", "home")
            .elsewhere(Denied, list)
            .granted(Passes("a peer"), resolve),
        row("names.list", "name-list.find", "home")
            .elsewhere(Denied, resolve)
            .granted(Passes("a peer"), list)
            .since_0_1_1(),
        row("names.list", "name-list.entries", "")
            .elsewhere(Denied, resolve)
            .granted(Passes("all names"), list)
            .since_0_1_1(),
    ]
}

fn peers() -> Vec<Row> {
    use Expected::{Denied, Passes};
    let (read, addresses) = (r#"{"peers": ["read"]}"#, r#"{"peers": ["addresses"]}"#);
    let both = r#"{"peers": ["read", "addresses"]}"#;
    let (without, with) = (
        Passes("a peer without addresses"),
        Passes("a peer with addresses"),
    );
    vec![
        row("peers.read", "peers.describe", "home")
            .elsewhere(Denied, addresses)
            .granted(without, read),
        row("peers.read", "peers.connected", "")
            .elsewhere(Denied, addresses)
            .granted(without, read),
        row("peers.addresses", "peers.describe", "home")
            .elsewhere(without, read)
            .granted(with, both),
        row("peers.addresses", "peers.connected", "")
            .elsewhere(without, read)
            .granted(with, both),
        row("events", "events.subscribe", "")
            .elsewhere(Denied, addresses)
            .granted(Passes("a subscription"), read)
            .since_0_1_1(),
    ]
}
