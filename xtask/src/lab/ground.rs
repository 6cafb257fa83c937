//! The little internets of the matrix, and what a case does to one while nodes run in it. Everything that a
//! case changes about the network, it changes through here.

mod wider;

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use peerup_testkit::{Host, NAT_A_ADDRESS, NAT_B_ADDRESS, Site, run};

use super::stage::Stage;

pub(super) use wider::{Extra, double_nat, ipv6_one_side, ipv6_only, lossy};

/// One script of `ip` and `nft` calls.
const CALL: Duration = Duration::from_secs(20);
/// The second relay: another server under another address of the relay's machine.
pub(super) const SECOND_RELAY_ADDRESS: &str = "203.0.113.2";
/// Outside ports of routers that remap, far from what a node chooses.
const REMAPPED: [u16; 2] = [20_311, 20_322];
/// The laptop's networks, between which it changes.
const SUBNETS: [&str; 2] = ["192.168.22", "192.168.23"];

/// Two NATs that keep ports, as the lab comes.
pub(super) fn as_it_is(_: &mut Stage) -> Result<()> {
    Ok(())
}

/// The laptop's router takes a new port for each destination.
pub(super) fn symmetric_one(stage: &mut Stage) -> Result<()> {
    symmetric(stage.lab.b())
}

/// The same, and home's router lets everybody in.
pub(super) fn symmetric_full_cone(stage: &mut Stage) -> Result<()> {
    symmetric(stage.lab.b())?;
    let site = stage.lab.a();
    let inside = site.host.address();
    // Ports are kept, so the port asked for outside is the one inside. What belongs to a connection that
    // home has opened is translated back before this.
    let rules = format!(
        "nft add chain inet lab prerouting '{{ type nat hook prerouting priority dstnat; }}'\n\
         nft add rule inet lab prerouting iifname wan udp dport 1024-65535 dnat ip to {inside}\n\
         nft insert rule inet lab forward ct status dnat accept"
    );
    shell(&site.nat, &rules)
}

/// Both routers take a new port for each destination.
pub(super) fn symmetric_both(stage: &mut Stage) -> Result<()> {
    symmetric(stage.lab.a())?;
    symmetric(stage.lab.b())
}

/// No UDP passes the laptop's router.
pub(super) fn udp_dropped_one(stage: &mut Stage) -> Result<()> {
    drop_udp(stage.lab.b())
}

/// No UDP passes either router.
pub(super) fn udp_dropped_both(stage: &mut Stage) -> Result<()> {
    drop_udp(stage.lab.a())?;
    drop_udp(stage.lab.b())
}

/// The laptop is plugged into home's router instead of its own.
pub(super) fn one_network(stage: &mut Stage) -> Result<()> {
    let (router, laptop) = (&stage.lab.a().nat, &stage.lab.b().host);
    shell(laptop, "ip link delete eth0")?;
    // The router's rules know its inside as `lan`: the bridge takes the name over.
    shell(
        router,
        "ip address flush dev lan scope global\n\
         ip link set lan down\n\
         ip link set lan name port-a\n\
         ip link add lan type bridge\n\
         ip link set port-a master lan up\n\
         ip link set lan up\n\
         ip address add 192.168.11.1/24 dev lan\n\
         # Where the kernel has its bridges ask the firewall, the router's rules would stop the LAN's own frames.\n\
         for family in ip ip6; do\n\
         file=/proc/sys/net/bridge/bridge-nf-call-${family}tables\n\
         if [ -e $file ]; then echo 0 > $file; fi\n\
         done",
    )?;
    let name = |host: &Host| host.namespace().map(str::to_owned).context("no namespace");
    let (router_name, laptop_name) = (name(router)?, name(laptop)?);
    let mut link = Command::new("ip");
    link.args(["-n", &router_name, "link", "add", "port-b", "type", "veth"]);
    link.args(["peer", "name", "eth0", "netns", &laptop_name]);
    run("ip", &mut link, CALL)?.success()?;
    shell(router, "ip link set port-b master lan up")?;
    shell(
        laptop,
        "ip address add 192.168.11.3/24 dev eth0\n\
         ip link set eth0 up\n\
         ip route add default via 192.168.11.1",
    )
}

fn symmetric(site: &Site) -> Result<()> {
    shell(
        &site.nat,
        "nft flush chain inet lab postrouting\n\
         nft add rule inet lab postrouting oifname wan masquerade fully-random",
    )
}

fn drop_udp(site: &Site) -> Result<()> {
    shell(
        &site.nat,
        "nft insert rule inet lab forward meta l4proto udp drop",
    )
}

/// Runs these lines there, up to the first that fails.
fn shell(host: &Host, lines: &str) -> Result<()> {
    let mut command = host.command("sh");
    command.args(["-ec", lines]);
    run("sh", &mut command, CALL)?
        .success()
        .with_context(|| format!("in {}: {lines}", host.namespace().unwrap_or("this machine")))?;
    Ok(())
}

impl Stage {
    /// Gives the relay's machine the second relay's address.
    pub(super) fn add_relay_address(&self) -> Result<()> {
        let line = format!("ip address replace {SECOND_RELAY_ADDRESS}/24 dev wan");
        shell(self.lab.relay(), &line)
    }

    /// Both routers give the node's port, of both protocols, another number outside, always the same one.
    pub(super) fn remap_both(&mut self) -> Result<()> {
        let sites = [
            (self.lab.a(), self.home()?.port()?, NAT_A_ADDRESS, REMAPPED[0]),
            (self.lab.b(), self.laptop()?.port()?, NAT_B_ADDRESS, REMAPPED[1]),
        ];
        for (site, inside, address, outside) in sites {
            let rule = |protocol: &str| {
                format!(
                    "nft insert rule inet lab postrouting oifname wan {protocol} sport {inside} \
                     snat ip to {address}:{outside}\n"
                )
            };
            shell(&site.nat, &(rule("tcp") + &rule("udp")))?;
        }
        Ok(())
    }

    /// The laptop's interface goes down.
    pub(super) fn cut_laptop(&mut self) -> Result<()> {
        shell(&self.lab.b().host, "ip link set eth0 down")
    }

    /// It comes up, and has its route again.
    pub(super) fn mend_laptop(&mut self) -> Result<()> {
        let subnet = self.subnet();
        let lines = format!("ip link set eth0 up\nip route replace default via {subnet}.1");
        shell(&self.lab.b().host, &lines)
    }

    /// Packets between the two sites vanish without a word, those of open connections too. The relay stays
    /// reachable.
    pub(super) fn block_silently(&mut self) -> Result<()> {
        for (site, other) in [(self.lab.a(), NAT_B_ADDRESS), (self.lab.b(), NAT_A_ADDRESS)] {
            let lines = format!(
                "nft add table inet silent\n\
                 nft add chain inet silent forward '{{ type filter hook forward priority -10; }}'\n\
                 nft add rule inet silent forward ip daddr {other} drop\n\
                 nft add rule inet silent forward ip saddr {other} drop"
            );
            shell(&site.nat, &lines)?;
        }
        Ok(())
    }

    /// They pass again.
    pub(super) fn unblock(&mut self) -> Result<()> {
        for site in [self.lab.a(), self.lab.b()] {
            shell(&site.nat, "nft delete table inet silent")?;
        }
        Ok(())
    }

    /// The laptop gets another address in another network, and its router another address there.
    pub(super) fn change_laptop_address(&mut self) -> Result<()> {
        self.moved = !self.moved;
        let subnet = self.subnet();
        let site = self.lab.b();
        shell(
            &site.nat,
            &format!("ip address flush dev lan scope global\nip address add {subnet}.1/24 dev lan"),
        )?;
        // An interface that is down gets its route when it comes up.
        shell(
            &site.host,
            &format!(
                "ip address flush dev eth0 scope global\n\
                 ip address add {subnet}.2/24 dev eth0\n\
                 ip route replace default via {subnet}.1 || ! ip link show dev eth0 up | grep -q eth0"
            ),
        )
    }

    fn subnet(&self) -> &'static str {
        let [first, second] = SUBNETS;
        if self.moved { second } else { first }
    }
}
