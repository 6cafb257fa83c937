//! Two paired nodes and real programs between them: curl, ssh, half-closed connections.

use std::{
    fs,
    io::Write,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Host, Process, poll, run};

use super::stage::{HOME, SOON, Stage, sha256};
use crate::tools;

const WEB_PORT: u16 = 8000;
const SSH_PORT: u16 = 2222;
const UPLOAD_PORT: u16 = 8101;
const LATE_PORT: u16 = 8102;
const ECHO_PORT: u16 = 8103;

/// The file of the issue that asks for it: 100 MB.
const BIG_FILE: usize = 100_000_000;
/// Each of the parallel downloads.
const SMALL_FILE: usize = 1_000_000;
const PARALLEL: usize = 20;
/// What a half-closed connection carries each way: more than all buffers on the way together.
const HALF_CLOSE_BYTES: &str = "5000000";

/// How long nodes may take to find a relay again.
const RELAY_BACK: Duration = Duration::from_secs(30);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(180);

/// The whole of it with NATs that a direct connection may be punched through.
pub(super) fn paired(stage: &mut Stage) -> Result<()> {
    stage.start_relay()?;
    stage.start_home()?;
    stage.pair_laptop()?;
    exercise(stage)?;
    let ping = ["ping", HOME, "-c", "5", "--until-direct"];
    let told = stage.laptop()?.attempt(&ping)?.stdout;
    let mut answers = told.lines().filter(|line| line.starts_with("seq="));
    stage.note(&format!(
        "the path by now: {}",
        answers.next_back().unwrap_or("no answer")
    ));
    end_with_open_tunnel(stage)
}

/// The same, with every direct way cut.
pub(super) fn relay_only(stage: &mut Stage) -> Result<()> {
    stage.lab.block_direct()?;
    stage.start_relay()?;
    stage.start_home()?;
    stage.pair_laptop()?;
    exercise(stage)?;
    let ping = stage.laptop()?.run(&["ping", HOME, "-c", "3"])?;
    ensure!(ping.contains("RELAYED"), "ping does not say RELAYED: {ping}");
    stage.note("ping says that the path is relayed");
    relay_comes_back(stage)
}

/// The relay is restarted, and nobody has to do anything.
fn relay_comes_back(stage: &mut Stage) -> Result<()> {
    let relay = stage.relay.as_mut().context("no relay")?;
    relay.stop()?;
    relay.start()?;
    let start = Instant::now();
    poll("an answer over the restarted relay", RELAY_BACK, || {
        let ping = stage
            .laptop()?
            .attempt(&["ping", HOME, "-c", "1", "--timeout", "2s"])?;
        Ok((ping.code == 0).then_some(()))
    })?;
    let took = start.elapsed().as_secs_f32();
    stage.note(&format!(
        "the relay was restarted: answers again after {took:.1} s"
    ));
    Ok(())
}

fn exercise(stage: &mut Stage) -> Result<()> {
    know_each_other(stage)?;
    let ping = stage.laptop()?.run(&["ping", HOME, "-c", "2"])?;
    stage.note(&format!("ping: {}", ping.lines().next().unwrap_or_default()));
    downloads(stage)?;
    ssh(stage)?;
    half_close(stage)
}

/// Both ends hold the other by key and by name.
fn know_each_other(stage: &Stage) -> Result<()> {
    let (home, laptop) = (stage.home()?, stage.laptop()?);
    for (one, other) in [(home, laptop), (laptop, home)] {
        let id = other.id()?;
        let listed = one.run(&["auth", "list"])?;
        ensure!(
            listed.contains(&id),
            "{} does not list {}: {listed}",
            one.name,
            other.name
        );
        let resolved = one.run(&["resolve", &other.name])?;
        ensure!(resolved.contains(&id), "{} resolves to {resolved}", other.name);
    }
    let relay = stage.relay.as_ref().context("no relay")?;
    let members = relay.run(&["list-peers"])?;
    ensure!(
        members.contains(&laptop.id()?),
        "the relay does not know the joiner: {members}"
    );
    stage.note("both know each other by key and by name, the relay knows the joiner");
    Ok(())
}

fn downloads(stage: &mut Stage) -> Result<()> {
    let site = stage.folder("site")?;
    let target = stage.folder("downloads")?;
    write_noise(&site.join("big"), BIG_FILE)?;
    write_noise(&site.join("small"), SMALL_FILE)?;
    let python = tools::find("python3").context("python3 is missing")?;
    let mut serve = stage.lab.a().host.command(python);
    serve.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
    serve.arg(&site).arg(WEB_PORT.to_string());
    let mut server = Process::spawn("http.server", &mut serve)?;
    server.wait_for_line("\"Serving\"", SOON, |line| line.starts_with("Serving"))?;
    stage.helpers.push(server);
    stage.offer("web", WEB_PORT)?;
    let address = stage.tunnel("web")?;

    let start = Instant::now();
    let big = target.join("big");
    let mut curl = curl_of(&stage.lab.b().host, &address, "big");
    run("curl", curl.arg("-o").arg(&big), DOWNLOAD_TIMEOUT)?
        .success()
        .context("curl of the big file")?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        sha256(&big)? == sha256(&site.join("big"))?,
        "the big file arrived changed"
    );
    let rate = BIG_FILE as f64 / 1e6 / seconds;
    stage.note(&format!("100 MB by curl, SHA-256 right, {rate:.0} MB/s"));

    let mut running = Vec::new();
    for number in 0..PARALLEL {
        let file = target.join(format!("small-{number}"));
        let mut curl = curl_of(&stage.lab.b().host, &address, "small");
        running.push((Process::spawn("curl", curl.arg("-o").arg(&file))?, file));
    }
    let wanted = sha256(&site.join("small"))?;
    for (mut process, file) in running {
        process
            .finish(DOWNLOAD_TIMEOUT)?
            .success()
            .context("one of the parallel downloads")?;
        ensure!(sha256(&file)? == wanted, "{} arrived changed", file.display());
    }
    stage.note(&format!(
        "{PARALLEL} downloads at once, each with the right SHA-256"
    ));
    Ok(())
}

fn curl_of(host: &Host, address: &str, file: &str) -> Command {
    let mut command = host.command("curl");
    command.args(["-sS", "--fail", "--noproxy", "*", "--max-time", "170"]);
    command.arg(format!("http://{address}/{file}"));
    command
}

/// Writes bytes that no link compresses away, from a small generator with a fixed start.
fn write_noise(path: &std::path::Path, length: usize) -> Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..length / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

fn ssh(stage: &mut Stage) -> Result<()> {
    let folder = stage.folder("ssh")?;
    for key in ["host_key", "user_key"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.join(key));
        run("ssh-keygen", &mut keygen, SOON)?.success()?;
    }
    let at = folder.display();
    let config = format!(
        "ListenAddress 127.0.0.1:{SSH_PORT}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/user_key.pub\n\
         PidFile {at}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    );
    fs::write(folder.join("sshd_config"), config)?;
    // The folder that sshd separates its privileges in; packages create it at boot.
    fs::create_dir_all("/run/sshd")?;
    let sshd = tools::find("sshd").context("sshd is missing")?;
    let mut serve = stage.lab.a().host.command(sshd);
    serve.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
    let mut server = Process::spawn("sshd", &mut serve)?;
    server.wait_for_line("\"Server listening\"", SOON, |line| {
        line.contains("Server listening")
    })?;
    stage.helpers.push(server);
    stage.offer("ssh", SSH_PORT)?;
    let address = stage.tunnel("ssh")?;

    let client = |terminal: bool| -> Result<Command> {
        let (host, port) = address.rsplit_once(':').context("no port")?;
        let mut ssh = stage.lab.b().host.command("ssh");
        ssh.args(["-F", "none", "-p", port, "-i"])
            .arg(folder.join("user_key"));
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        if terminal {
            ssh.arg("-tt");
        }
        ssh.arg(format!("root@{host}"));
        Ok(ssh)
    };
    let mut remote = client(false)?;
    let told = run("ssh", remote.arg("ip -br address show dev eth0"), SOON)?.success()?;
    ensure!(told.contains("192.168.11.2"), "ssh ended up elsewhere: {told}");
    stage.note("ssh runs a command on the other side");

    let mut session = Process::spawn_with_input("ssh -tt", client(true)?.arg("sh"))?;
    session.write(b"echo answer-$((6 * 7))\n")?;
    session.wait_for_line("the answer", SOON, |line| line.ends_with("answer-42"))?;
    session.write(b"exit 3\n")?;
    let code = session.finish(SOON)?.code;
    ensure!(code == 3, "the interactive session ended with {code}, not 3");
    stage.note("ssh holds an interactive session, its exit code comes back");
    Ok(())
}

fn half_close(stage: &mut Stage) -> Result<()> {
    stage.serve("upload", "count-then-reply", UPLOAD_PORT)?;
    let address = stage.tunnel("upload")?;
    let mut client = stage.client("upload", &address)?;
    run("upload", client.arg(HALF_CLOSE_BYTES), SOON)?.success()?;
    stage.note("half-close by the client: all sent, then ended, and the reply still came");

    stage.serve("late", "reply-first", LATE_PORT)?;
    let address = stage.tunnel("late")?;
    let mut client = stage.client("late-upload", &address)?;
    let told = run("late-upload", client.arg(HALF_CLOSE_BYTES), SOON)?.success()?;
    let sent = told
        .lines()
        .find_map(|line| line.strip_prefix("sent "))
        .context("nothing sent")?;
    let wanted = format!("received {sent}");
    let server = stage.helpers.iter_mut().rev().nth(1).context("no server")?;
    server.wait_for_line("what was sent after its own end", SOON, |line| line == wanted)?;
    stage.note("half-close by the server: it ended first, and what came afterwards arrived");
    Ok(())
}

/// SIGTERM with a tunnel open: within five seconds, nothing left behind.
fn end_with_open_tunnel(stage: &mut Stage) -> Result<()> {
    stage.serve("echo", "echo", ECHO_PORT)?;
    let address = stage.tunnel("echo")?;
    let mut client = Process::spawn_with_input("hold", &mut stage.client("hold", &address)?)?;
    client.wait_for_line("\"open\"", SOON, |line| line == "open")?;
    let home = stage.home.as_mut().context("no home node")?;
    let took = home.stop().context("SIGTERM to home with a tunnel open")?;
    client.wait_for_line("its end", SOON, |line| line.starts_with("closed"))?;
    stage.note(&format!(
        "SIGTERM with an open tunnel: {:.1} s, no socket, no cookie",
        took.as_secs_f32()
    ));
    let took = stage.laptop.as_mut().context("no laptop")?.stop()?;
    stage.note(&format!("SIGTERM to laptop: {:.1} s", took.as_secs_f32()));
    let took = stage.relay.as_mut().context("no relay")?.stop()?;
    stage.note(&format!("SIGTERM to the relay: {:.1} s", took.as_secs_f32()));
    Ok(())
}
