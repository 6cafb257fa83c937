//! One crossing from the laptop to home: a stream that lives through the case, the first byte, the path
//! that it ends on, and the row that is made of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerup_testkit::poll;

use super::{
    pair::{pass, thrice},
    record::Record,
    sequence::Sequence,
    stage::{HOME, Stage},
    view::{PathNow, ping_path},
};

/// What must hold from the first relayed byte to the direct path.
pub(super) const DIRECT_TARGET: Duration = Duration::from_secs(2);
/// What must hold for the first byte over a relay.
pub(super) const RELAYED_TARGET: Duration = Duration::from_secs(1);
/// What must hold for the first byte in one network.
pub(super) const LAN_TARGET: Duration = Duration::from_millis(200);
/// What must hold for a reservation after the relay's return.
pub(super) const RELAY_BACK_TARGET: Duration = Duration::from_secs(10);
/// A direct path that is not there by then does not come.
const NEVER: Duration = Duration::from_secs(30);
/// How long a path has to stay relayed to be called so: longer than the first tries to go direct.
const STAYS: Duration = Duration::from_secs(8);

/// A stream through a tunnel, with what is known of its path.
pub(super) struct Crossing {
    sequence: Sequence,
    begun: Instant,
    /// The row of the table.
    pub(super) record: Record,
}

impl Crossing {
    /// Opens a tunnel and the stream through it, and complains where the first byte takes longer than three
    /// times the target.
    pub(super) fn begin(stage: &mut Stage, target: Duration) -> Result<Self> {
        let address = stage.tunnel("sequence")?;
        let sequence = Sequence::start(&mut stage.client("sequence", &address)?)?;
        let begun = Instant::now();
        let first_byte = sequence.first_byte;
        let path = stage
            .path_now()?
            .map_or_else(|| "no path".to_owned(), |path| path.path);
        stage.note(&format!(
            "first byte of a tunnel after {} ms, now {path}",
            first_byte.as_millis()
        ));
        if first_byte > thrice(target) {
            stage.complain(format!(
                "the first byte took {first_byte:?}, {target:?} is the target"
            ));
        }
        let record = Record {
            first_byte: Some(first_byte),
            ..Record::default()
        };
        Ok(Self {
            sequence,
            begun,
            record,
        })
    }

    /// Waits for the direct path over one of these transports.
    pub(super) fn goes_direct(&mut self, stage: &Stage, transports: &[&str]) -> Result<()> {
        let (path, seen) = stage.wait_for_direct(NEVER)?;
        let took = seen.saturating_duration_since(self.begun);
        self.record.direct = Some(took);
        stage.note(&format!(
            "DIRECT {} {} ms after the first byte",
            path.transport,
            took.as_millis()
        ));
        if took > thrice(DIRECT_TARGET) {
            stage.complain(format!("direct after {took:?}, {DIRECT_TARGET:?} is the target"));
        }
        let told = stage
            .laptop()?
            .run(&["ping", HOME, "--until-direct", "-c", "5", "--json"])?;
        let ping = ping_path(&told).with_context(|| format!("no answer in {told}"))?;
        ensure!(ping.is_direct(), "ping goes another way: {told}");
        // A better transport may take over within the first moments.
        let right = poll("the right transport", thrice(DIRECT_TARGET), || {
            let now = stage.path_now()?.filter(PathNow::is_direct);
            Ok(now.filter(|path| transports.contains(&path.transport.as_str())))
        });
        if right.is_err() {
            stage.complain(format!("direct over {:?}, not {transports:?}", stage.path_now()?));
        }
        Ok(())
    }

    /// Watches that the path is relayed and stays so.
    pub(super) fn stays_relayed(&mut self, stage: &Stage) -> Result<()> {
        let start = Instant::now();
        poll("the time to pass", STAYS * 2, || {
            let now = stage.path_now()?.context("no path")?;
            ensure!(!now.is_direct(), "it went direct: {}", stage.explanation());
            Ok((start.elapsed() >= STAYS).then_some(()))
        })?;
        let told = stage.laptop()?.run(&["ping", HOME, "-c", "1", "--json"])?;
        let ping = ping_path(&told).with_context(|| format!("no answer in {told}"))?;
        ensure!(ping.path == "RELAYED", "ping does not say RELAYED: {told}");
        stage.note(&format!("RELAYED, and still so after {} s", STAYS.as_secs()));
        Ok(())
    }

    /// Ends the stream, which has to be whole, and writes the row.
    pub(super) fn end(self, stage: &mut Stage, remark: &str) -> Result<()> {
        let whole = self.sequence.finish()?;
        stage.note(&format!(
            "the stream lived through it: {} blocks, the slowest took {} ms",
            whole.blocks,
            whole.longest.as_millis()
        ));
        write_row(stage, self.record, remark)
    }

    /// Gives the stream up, where what happened cannot but end it; says whether it did.
    pub(super) fn abandon(mut self, stage: &mut Stage, remark: &str) -> Result<()> {
        let lived = if self.sequence.alive()? {
            "lives"
        } else {
            "has ended"
        };
        stage.note(&format!("the stream from before {lived}"));
        write_row(stage, self.record, remark)
    }

    /// Lets it run for a while.
    pub(super) fn go_on(&mut self, time: Duration) -> Result<()> {
        pass(time)?;
        ensure!(self.sequence.alive()?, "the stream ended");
        Ok(())
    }
}

fn write_row(stage: &mut Stage, mut record: Record, remark: &str) -> Result<()> {
    if let Some(path) = stage.path_now()? {
        record.path = path.path;
        record.transport = path.transport;
    }
    remark.clone_into(&mut record.remark);
    stage.records.push(record);
    Ok(())
}
