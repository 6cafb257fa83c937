//! x
#[derive(clap::Args, Default)]
pub(crate) struct LabArguments {}
pub(crate) fn run(_: &LabArguments) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
