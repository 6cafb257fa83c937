//! x
pub(crate) fn run(_: bool) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
