//! A small internet of network namespaces: a public segment with a relay, two NAT routers that let
//! nothing in unasked, and one host behind each. Needs root, `ip` and `nft`.
//!
//! ```text
//!  host-a 192.168.11.2 --- nat-a 203.0.113.11 --+
//!                                               +-- inet (bridge) -- relay 203.0.113.1
//!  host-b 192.168.22.2 --- nat-b 203.0.113.12 --+
//! ```
//!
//! All addresses exist inside the namespaces only. Names carry the process id of their owner, so runs
//! do not meet, and what a killed run left behind is removed by the next one.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{Host, run};

/// The relay's address in the public segment.
pub const RELAY_ADDRESS: &str = "203.0.113.1";
/// The public address of the first NAT router.
pub const NAT_A_ADDRESS: &str = "203.0.113.11";
/// The public address of the second NAT router.
pub const NAT_B_ADDRESS: &str = "203.0.113.12";

/// What every namespace of a lab starts with.
const PREFIX: &str = "peerup-lab-";

/// One `ip` or `nft` call.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

static LABS: AtomicU32 = AtomicU32::new(0);

/// A host and the NAT router in front of it.
#[derive(Debug, Clone)]
pub struct Site {
    /// The machine behind the router.
    pub host: Host,
    /// The router.
    pub nat: Host,
}

/// The namespaces, removed when dropped.
pub struct Lab {
    prefix: String,
    namespaces: Vec<String>,
    relay: Host,
    a: Site,
    b: Site,
}

impl Lab {
    /// Builds the namespaces, links, routes and NAT rules.
    ///
    /// # Errors
    /// Where the process is not root, a tool is missing, or the kernel refuses; what was built until
    /// then is removed.
    pub fn new() -> Result<Self> {
        remove_stale();
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}-", std::process::id());
        let place = |name: &str, address: &str| Host::in_namespace(format!("{prefix}{name}"), address);
        let mut lab = Self {
            relay: place("relay", RELAY_ADDRESS),
            a: Site {
                host: place("host-a", "192.168.11.2"),
                nat: place("nat-a", NAT_A_ADDRESS),
            },
            b: Site {
                host: place("host-b", "192.168.22.2"),
                nat: place("nat-b", NAT_B_ADDRESS),
            },
            namespaces: Vec::new(),
            prefix,
        };
        lab.build()?;
        Ok(lab)
    }

    /// The machine in the public segment that the relay runs on.
    pub fn relay(&self) -> &Host {
        &self.relay
    }

    /// The first site.
    pub fn a(&self) -> &Site {
        &self.a
    }

    /// The second site.
    pub fn b(&self) -> &Site {
        &self.b
    }

    /// Cuts every direct way between the two sites: UDP does not leave either of them, and TCP to the
    /// other site's public address does not either. The relay stays reachable over TCP.
    ///
    /// # Errors
    /// Where `nft` refuses.
    pub fn block_direct(&self) -> Result<()> {
        for (site, other) in [(&self.a, NAT_B_ADDRESS), (&self.b, NAT_A_ADDRESS)] {
            let rules = format!(
                "insert rule inet lab forward ip daddr {other} drop\n\
                 insert rule inet lab forward meta l4proto udp drop\n"
            );
            apply_rules(&site.nat, &rules)?;
        }
        Ok(())
    }

    /// Checks that this process may build a lab.
    ///
    /// # Errors
    /// Names what is missing: the right, or a program.
    pub fn check() -> Result<()> {
        let id = run("id", Command::new("id").arg("-u"), CALL_TIMEOUT)?;
        ensure!(id.stdout.trim() == "0", "network namespaces need root");
        for program in ["ip", "nft", "sysctl"] {
            let mut which = Command::new("sh");
            which.args(["-c", "command -v \"$1\" >/dev/null", "sh", program]);
            let found = run("which", &mut which, CALL_TIMEOUT)?;
            ensure!(found.code == 0, "{program} is not installed");
        }
        Ok(())
    }

    fn build(&mut self) -> Result<()> {
        let inet = self.add_namespace("inet")?;
        ip(&["-n", &inet, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &inet, "link", "set", "br0", "up"])?;

        self.add_namespace("relay")?;
        self.attach(&inet, "relay", RELAY_ADDRESS)?;
        self.add_site(&inet, "a", NAT_A_ADDRESS, "192.168.11")?;
        self.add_site(&inet, "b", NAT_B_ADDRESS, "192.168.22")?;
        Ok(())
    }

    fn add_namespace(&mut self, name: &str) -> Result<String> {
        let namespace = format!("{}{name}", self.prefix);
        ip(&["netns", "add", &namespace])?;
        self.namespaces.push(namespace.clone());
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Joins a namespace to the bridge, as `wan`.
    fn attach(&self, inet: &str, name: &str, address: &str) -> Result<()> {
        let namespace = format!("{}{name}", self.prefix);
        self.link(inet, &format!("to-{name}"), &namespace, "wan")?;
        ip(&["-n", inet, "link", "set", &format!("to-{name}"), "master", "br0"])?;
        let address = format!("{address}/24");
        ip(&["-n", &namespace, "address", "add", &address, "dev", "wan"])
    }

    /// Creates a veth pair and brings both ends up.
    fn link(&self, one: &str, one_end: &str, other: &str, other_end: &str) -> Result<()> {
        ip(&[
            "-n", one, "link", "add", one_end, "type", "veth", "peer", "name", other_end, "netns", other,
        ])?;
        ip(&["-n", one, "link", "set", one_end, "up"])?;
        ip(&["-n", other, "link", "set", other_end, "up"])
    }

    fn add_site(&mut self, inet: &str, letter: &str, public: &str, subnet: &str) -> Result<()> {
        let nat = self.add_namespace(&format!("nat-{letter}"))?;
        let host = self.add_namespace(&format!("host-{letter}"))?;
        self.attach(inet, &format!("nat-{letter}"), public)?;
        self.link(&nat, "lan", &host, "eth0")?;
        let gateway = format!("{subnet}.1");
        ip(&[
            "-n",
            &nat,
            "address",
            "add",
            &format!("{gateway}/24"),
            "dev",
            "lan",
        ])?;
        ip(&[
            "-n",
            &host,
            "address",
            "add",
            &format!("{subnet}.2/24"),
            "dev",
            "eth0",
        ])?;
        ip(&["-n", &host, "route", "add", "default", "via", &gateway])?;

        let nat = Host::in_namespace(nat, public);
        let mut forward = nat.command("sysctl");
        forward.args(["-q", "-w", "net.ipv4.ip_forward=1"]);
        run("sysctl", &mut forward, CALL_TIMEOUT)?
            .success()
            .context("cannot turn forwarding on")?;
        apply_rules(&nat, NAT_RULES)
    }
}

/// Masquerades what leaves, answers what was asked, drops everything else that comes in.
const NAT_RULES: &str = "
table inet lab {
    chain input {
        type filter hook input priority filter; policy drop;
        iifname { lo, lan } accept
        ct state established,related accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname lan oifname wan accept
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname wan masquerade
    }
}
";

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.namespaces.iter().rev() {
            remove(namespace);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", Command::new("ip").args(arguments), CALL_TIMEOUT)?
        .success()
        .with_context(|| format!("ip {}", arguments.join(" ")))?;
    Ok(())
}

fn apply_rules(router: &Host, rules: &str) -> Result<()> {
    let file = tempfile::NamedTempFile::new().context("no temporary file for the nft rules")?;
    std::fs::write(file.path(), rules)?;
    let mut nft = router.command("nft");
    run("nft", nft.arg("-f").arg(file.path()), CALL_TIMEOUT)?
        .success()
        .context("nft refuses the rules of a router")?;
    Ok(())
}

/// Ends what still runs in a namespace and removes it.
fn remove(namespace: &str) {
    let pids = run(
        "ip",
        Command::new("ip").args(["netns", "pids", namespace]),
        CALL_TIMEOUT,
    );
    for pid in pids.map(|pids| pids.stdout).unwrap_or_default().lines() {
        // The namespace is ours alone, so is everything inside.
        let _ = run("kill", Command::new("kill").args(["-9", pid]), CALL_TIMEOUT);
    }
    // A namespace that is gone already is what we want.
    let _ = run(
        "ip",
        Command::new("ip").args(["netns", "delete", namespace]),
        CALL_TIMEOUT,
    );
}

/// Removes the namespaces of owners that no longer run.
fn remove_stale() {
    let Ok(listed) = run("ip", Command::new("ip").args(["netns", "list"]), CALL_TIMEOUT) else {
        return;
    };
    for line in listed.stdout.lines() {
        let namespace = line.split_whitespace().next().unwrap_or_default();
        if owner(namespace).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(namespace);
        }
    }
}

/// The process id in a namespace's name, where the name is one of a lab's.
fn owner(namespace: &str) -> Option<u32> {
    let (pid, _) = namespace.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_labs_have_an_owner() {
        assert_eq!(owner("peerup-lab-42-0-nat-a"), Some(42));
        assert_eq!(owner("peerup-lab-x-0-nat-a"), None);
        assert_eq!(owner("somebody-elses"), None);
    }
}
