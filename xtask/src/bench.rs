//! x
#[derive(clap::Args, Default)]
pub(crate) struct BenchArguments {}
pub(crate) fn run(_: &BenchArguments) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
