//! A link with delay and loss between two hosts of a lab, seen with `ping`. Needs root; says so and passes
//! where that is missing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, one that is skipped says so"
)]

use std::{fs, time::Duration};

use peerup_testkit::{Finished, Host, ImpairedLink, Impairment, Lab, run};

const CALL: Duration = Duration::from_secs(60);
const A: &str = "10.77.0.1";
const B: &str = "10.77.0.2";

/// A link between the hosts of both sites, up and with addresses. Dropped before the lab.
struct Setting {
    link: Option<ImpairedLink>,
    lab: Lab,
}

impl Setting {
    /// `device` is its name on both sides; none without the rights.
    fn new(device: &str, impairment: Impairment) -> Option<Self> {
        if let Err(missing) = Lab::check() {
            println!("skipped: {missing:#}");
            return None;
        }
        let lab = Lab::new().unwrap();
        let (a, b) = (&lab.a().host, &lab.b().host);
        let link = ImpairedLink::between(a, device, b, device, impairment).unwrap();
        for (host, own, other) in [(a, A, B), (b, B, A)] {
            ip(host, &["address", "add", own, "peer", other, "dev", device]);
            ip(host, &["link", "set", device, "up"]);
        }
        Some(Self {
            link: Some(link),
            lab,
        })
    }

    fn ping(&self, arguments: &[&str]) -> String {
        let mut command = self.lab.a().host.command("ping");
        let ping = run("ping", command.args(["-n"]).args(arguments).arg(B), CALL).unwrap();
        ping.stdout
    }
}

fn ip(host: &Host, arguments: &[&str]) -> Finished {
    let finished = run("ip", host.command("ip").args(arguments), CALL).unwrap();
    assert_eq!(finished.code, 0, "ip {arguments:?}: {}", finished.stderr);
    finished
}

fn received(told: &str) -> u32 {
    let (before, _) = told.split_once(" received").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_round_trip_takes_the_delay_of_both_directions() {
    let delay = Duration::from_millis(40);
    let none_lost = Impairment {
        delay,
        loss: 0.0,
        seed: 1,
    };
    let Some(setting) = Setting::new("slow", none_lost) else {
        return;
    };
    let told = setting.ping(&["-c", "5", "-i", "0.1"]);
    assert_eq!(received(&told), 5, "{told}");
    let times = told.lines().filter_map(|line| line.split_once("time="));
    let times: Vec<f64> = times
        .map(|(_, time)| time.trim_end_matches(" ms").parse().unwrap())
        .collect();
    assert_eq!(times.len(), 5, "{told}");
    assert!(times.iter().all(|time| *time >= 80.0), "{told}");
}

#[test]
fn what_a_full_loss_lets_through_is_nothing() {
    let all_lost = Impairment {
        delay: Duration::ZERO,
        loss: 1.0,
        seed: 1,
    };
    let Some(setting) = Setting::new("black", all_lost) else {
        return;
    };
    let told = setting.ping(&["-c", "20", "-i", "0.01", "-W", "1"]);
    assert_eq!(received(&told), 0, "{told}");
}

#[test]
fn a_loss_of_a_fifth_takes_some_and_not_all() {
    let some_lost = Impairment {
        delay: Duration::from_millis(1),
        loss: 0.2,
        seed: 20,
    };
    let Some(setting) = Setting::new("some", some_lost) else {
        return;
    };
    let told = setting.ping(&["-c", "200", "-i", "0.01", "-W", "1"]);
    // 64 % of the round trips is to be expected.
    assert!((80..180).contains(&received(&told)), "{told}");
}

#[test]
fn with_the_link_its_threads_and_devices_end() {
    let clean = Impairment {
        delay: Duration::from_secs(3600),
        loss: 0.0,
        seed: 1,
    };
    let Some(mut setting) = Setting::new("brief-link", clean) else {
        return;
    };
    // What is under way does not hold the end up.
    let told = setting.ping(&["-c", "2", "-i", "0.01", "-W", "1"]);
    assert_eq!(received(&told), 0, "{told}");
    assert_eq!(threads_called("brief-link"), 2);

    setting.link = None;

    assert_eq!(threads_called("brief-link"), 0);
    for host in [&setting.lab.a().host, &setting.lab.b().host] {
        let left = ip(host, &["-brief", "link", "show"]).stdout;
        assert!(left.contains("eth0") && !left.contains("brief-link"), "{left}");
    }
}

#[test]
fn refuses_a_name_that_is_taken_and_a_loss_that_is_no_share() {
    let fine = Impairment {
        delay: Duration::ZERO,
        loss: 0.0,
        seed: 1,
    };
    let Some(setting) = Setting::new("taken", fine) else {
        return;
    };
    let (a, b) = (&setting.lab.a().host, &setting.lab.b().host);
    let error = ImpairedLink::between(a, "fresh", b, "taken", fine).unwrap_err();
    assert!(format!("{error:#}").contains("taken"), "{error:#}");
    for loss in [-0.1, 1.1, f64::NAN] {
        let wrong = Impairment { loss, ..fine };
        assert!(ImpairedLink::between(a, "fresh", b, "fresh", wrong).is_err());
    }
}

fn threads_called(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}
