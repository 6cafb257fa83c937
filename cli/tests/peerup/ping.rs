//! How `ping` ends: by hand in the middle with statistics, and with the code of what came back.

use peerup_testkit::Process;
use serde_json::Value;

use crate::support::{END, Outcome, Pair, SOON};

/// Waits for a line of an answer, or of none.
#[track_caller]
fn line(ping: &mut Process, text: &str) {
    ping.wait_for_line(text, SOON, |line| line.contains(text))
        .unwrap();
}

#[test]
fn a_ping_without_end_tells_its_statistics_when_it_is_interrupted() {
    let mut pair = Pair::start();
    let endless = ["ping", "home", "-c", "0", "--interval", "20ms"];
    let mut ping = pair.laptop.spawn(&endless);
    line(&mut ping, "seq=3 rtt=");
    let outcome = Outcome::from(ping.interrupt(END).unwrap());
    let text = outcome.ok();
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(" sent, ") && last.contains(" 0% lost, rtt min/avg/max = "),
        "{text}"
    );

    let words = [
        "daemon",
        "ping",
        "home",
        "-c",
        "0",
        "--interval",
        "20ms",
        "--json",
    ];
    let mut ping = pair.laptop.spawn(&words);
    line(&mut ping, "\"seq\":3");
    let (finished, _) = ping.terminate(END).unwrap();
    let text = Outcome::from(finished).ok();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, answers) = lines.split_last().unwrap();
    let stats = &last["stats"];
    assert_eq!(stats["sent"], answers.len(), "{text}");
    assert_eq!(stats["received"], answers.len(), "{text}");
    let whole = pair.laptop.run(&["ping", "home", "-c", "1", "--json"]).ok();
    let whole: Value = serde_json::from_str(whole.lines().last().unwrap()).unwrap();
    let keys = |stats: &Value| -> Vec<String> { stats.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(stats), keys(&whole["stats"]));

    let mut ping = pair
        .laptop
        .spawn(&["ping", "home", "-c", "100000", "--interval", "20ms"]);
    line(&mut ping, "seq=2 rtt=");
    let outcome = Outcome::from(ping.interrupt(END).unwrap());
    assert_eq!(outcome.code, 130, "{outcome:#?}");
    assert!(outcome.stdout.contains("% lost, rtt min/avg/max"), "{outcome:#?}");

    pair.home.stop();
    let mut ping = pair
        .laptop
        .spawn(&["ping", "home", "-c", "0", "--timeout", "200ms"]);
    line(&mut ping, "seq=1 error: ");
    let outcome = Outcome::from(ping.interrupt(END).unwrap()).fails(5, &["nothing came back"]);
    assert!(outcome.stdout.contains(" 0 received, 100% lost"), "{outcome:#?}");
}
