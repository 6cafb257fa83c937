//! Internets with more in them than the lab brings: a carrier's NAT, a third router, IPv6, a bad link.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Host, ImpairedLink, Impairment, NAT_A_ADDRESS, RELAY_ADDRESS, run};

use super::{CALL, Stage, shell};

/// The outside address of the router that the laptop moves to.
const THIRD_ROUTER: &str = "203.0.113.13";
/// The relay's address of the other family.
const RELAY_IPV6: &str = "2001:db8:1::1";
/// The address at which the bad link leaves the public segment.
const BAD_LINK: &str = "203.0.113.21";
/// What the bad link does in each direction: 60 ms there and back, one packet in a hundred lost.
const BAD: Impairment = Impairment {
    delay: Duration::from_millis(30),
    loss: 0.01,
    seed: 60,
};

/// A namespace beside those of the lab, removed when dropped.
pub(in crate::lab) struct Extra {
    name: String,
}

impl Extra {
    fn new(stage: &Stage, suffix: &str) -> Result<Self> {
        let extra = Self {
            name: format!("{}{suffix}", prefix(stage)?),
        };
        here(&format!("ip netns add {0}\nip -n {0} link set lo up", extra.name))?;
        Ok(extra)
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        // A namespace that is gone already is what we want.
        let _ = here(&format!("ip netns delete {}", self.name));
    }
}

/// The laptop's router has a second one in front of it, the provider's.
pub(in crate::lab) fn double_nat(stage: &mut Stage) -> Result<()> {
    let carrier = Extra::new(stage, "carrier")?;
    let (p, carrier_name) = (prefix(stage)?, &carrier.name);
    here(&format!(
        "ip -n {p}nat-b link delete wan\n\
         ip -n {carrier_name} link add lan type veth peer name wan netns {p}nat-b\n\
         ip -n {carrier_name} address add 100.64.0.1/24 dev lan\n\
         ip -n {carrier_name} link set lan up\n\
         ip -n {p}nat-b address add 100.64.0.2/24 dev wan\n\
         ip -n {p}nat-b link set wan up\n\
         ip -n {p}nat-b route add default via 100.64.0.1"
    ))?;
    becomes_router(&p, &carrier.name, "203.0.113.12")?;
    stage.extras.push(carrier);
    Ok(())
}

/// Home has IPv6 beside IPv4, the relay has both, and the laptop has not.
pub(in crate::lab) fn ipv6_one_side(stage: &mut Stage) -> Result<()> {
    shell(
        stage.lab.relay(),
        &format!(
            "ip address add {RELAY_IPV6}/64 dev wan nodad\n\
             ip route add 2001:db8:11::/64 via 2001:db8:1::11"
        ),
    )?;
    shell(
        &stage.lab.a().nat,
        "sysctl -q -w net.ipv6.conf.all.forwarding=1\n\
         ip address add 2001:db8:1::11/64 dev wan nodad\n\
         ip address add 2001:db8:11::1/64 dev lan nodad\n\
         nft insert rule inet lab input meta l4proto ipv6-icmp accept\n\
         nft insert rule inet lab postrouting meta nfproto ipv6 accept",
    )?;
    shell(
        &stage.lab.a().host,
        "ip address add 2001:db8:11::2/64 dev eth0 nodad\n\
         ip route add default via 2001:db8:11::1",
    )?;
    stage.relay_also_at.push(format!("/ip6/{RELAY_IPV6}"));
    Ok(())
}

/// Home has IPv6 only, the laptop IPv4 only, the relay both.
pub(in crate::lab) fn ipv6_only(stage: &mut Stage) -> Result<()> {
    ipv6_one_side(stage)?;
    shell(&stage.lab.a().host, "ip -4 address flush dev eth0 scope global")
}

/// Home's router reaches the public segment over a bad link, which takes the place of its cable under the same
/// name: its rules hold as they are. The segment's own namespace answers for its address and hands the packets on.
pub(in crate::lab) fn lossy(stage: &mut Stage) -> Result<()> {
    let router = &stage.lab.a().nat;
    let segment = Host::in_namespace(format!("{}inet", prefix(stage)?), BAD_LINK);
    shell(router, "ip link delete wan")?;
    let link = ImpairedLink::between(router, "wan", &segment, "bad-link", BAD)?;
    shell(
        router,
        &format!("ip address add {NAT_A_ADDRESS}/24 dev wan\nip link set wan up"),
    )?;
    // Answers at once: on its own the kernel takes up to 0.8 s to answer for others.
    shell(
        &segment,
        &format!(
            "ip address add {BAD_LINK}/24 dev br0\n\
             ip link set bad-link up\n\
             ip route add {NAT_A_ADDRESS}/32 dev bad-link\n\
             sysctl -q -w net.ipv4.ip_forward=1\n\
             sysctl -q -w net.ipv4.conf.br0.proxy_arp=1\n\
             sysctl -q -w net.ipv4.neigh.br0.proxy_delay=0"
        ),
    )?;
    stage.links.push(link);
    slow_enough(stage)
}

/// Looks whether the bad link is what it is meant to be, from the host behind it to the relay's machine.
fn slow_enough(stage: &Stage) -> Result<()> {
    let mut ping = stage.lab.a().host.command("ping");
    ping.args(["-n", "-q", "-c", "10", "-i", "0.1", "-W", "2", RELAY_ADDRESS]);
    let told = run("ping", &mut ping, CALL)?.success()?;
    let (_, times) = told.split_once(" = ").context("ping says no times")?;
    let least: f64 = times.split('/').next().unwrap_or_default().parse()?;
    stage.note(&format!("home is {least:.0} ms from the relay"));
    let meant = BAD.delay.as_secs_f64() * 2000.0;
    ensure!(least >= meant, "a round trip of {least} ms, {meant} is meant");
    Ok(())
}

impl Stage {
    /// Plugs the laptop into a third router, which has not seen it before.
    pub(in crate::lab) fn move_laptop(&mut self) -> Result<()> {
        let router = Extra::new(self, "nat-c")?;
        let (p, router_name) = (prefix(self)?, &router.name);
        here(&format!(
            "ip -n {p}host-b link delete eth0\n\
             ip -n {router_name} link add lan type veth peer name eth0 netns {p}host-b\n\
             ip -n {router_name} address add 192.168.33.1/24 dev lan\n\
             ip -n {router_name} link set lan up"
        ))?;
        becomes_router(&p, &router.name, THIRD_ROUTER)?;
        self.extras.push(router);
        shell(
            &self.lab.b().host,
            "ip address add 192.168.33.2/24 dev eth0\n\
             ip link set eth0 up\n\
             ip route add default via 192.168.33.1",
        )
    }
}

/// Joins a namespace to the public segment under an address, with the rules of home's router.
fn becomes_router(p: &str, name: &str, address: &str) -> Result<()> {
    here(&format!(
        "ip -n {name} link add wan type veth peer name to-new netns {p}inet\n\
         ip -n {p}inet link set to-new master br0 up\n\
         ip -n {name} address add {address}/24 dev wan\n\
         ip -n {name} link set wan up\n\
         ip netns exec {name} sysctl -q -w net.ipv4.ip_forward=1\n\
         ip netns exec {p}nat-a nft list table inet lab | ip netns exec {name} nft -f -"
    ))
}

/// What the names of the lab's namespaces begin with.
fn prefix(stage: &Stage) -> Result<String> {
    let relay = stage.lab.relay().namespace().context("no namespace")?;
    let prefix = relay.strip_suffix("relay").context("another name")?;
    Ok(prefix.to_owned())
}

/// Runs these lines on this machine, up to the first that fails.
fn here(lines: &str) -> Result<()> {
    let mut command = Command::new("sh");
    run("sh", command.args(["-ec", lines]), CALL)?
        .success()
        .with_context(|| lines.to_owned())?;
    Ok(())
}
