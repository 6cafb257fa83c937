//! Two nodes that know each other, over a relay that knows both.

use tempfile::TempDir;

use super::{Echo, Node, Relay, inject_relay};

/// `home`, with the services `echo` and `other`, and `laptop`; each has the other in `authorized_keys` and
/// under its name.
pub(crate) struct Pair {
    pub(crate) home: Node,
    pub(crate) laptop: Node,
    pub(crate) relay: Relay,
    pub(crate) folder: TempDir,
}

impl Pair {
    /// Neither daemon runs yet.
    #[track_caller]
    pub(crate) fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Node::init(folder.path(), "home");
        let laptop = Node::init(folder.path(), "laptop");
        let (home_id, laptop_id) = (home.peer_id(), laptop.peer_id());
        let relay = Relay::start(&[home_id.clone(), laptop_id.clone()], "");
        let echo = Echo::start();
        for (node, other, name) in [(&home, laptop_id, "laptop"), (&laptop, home_id, "home")] {
            inject_relay(node, &relay.address);
            node.run(&["auth", "add", &other, "--name", name]).ok();
        }
        for service in ["echo", "other"] {
            home.run(&["service", "add", service, &echo.address()]).ok();
        }
        Self {
            home,
            laptop,
            relay,
            folder,
        }
    }

    /// Both daemons run.
    #[track_caller]
    pub(crate) fn start() -> Self {
        let mut pair = Self::prepare();
        pair.home.start();
        pair.laptop.start();
        pair
    }
}
