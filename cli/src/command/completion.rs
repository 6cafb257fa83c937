//! `completion`: what a shell reads to ask peerup itself at each press of Tab.

use peerup_model::{ErrorCode, Failure};

use crate::arguments::Shell;

/// The variable with which a shell's script asks.
pub(crate) const VARIABLE: &str = "PEERUP_COMPLETE";

/// Returns what makes a shell ask.
pub(crate) fn script(shell: Shell) -> Result<String, Failure> {
    let failed = |text: String| Failure::new(ErrorCode::Failed, text);
    let shells = clap_complete::env::Shells::builtins();
    let completer = shells
        .completer(shell.name())
        .ok_or_else(|| failed(format!("{} is not known", shell.name())))?;
    let mut text = Vec::new();
    completer
        .write_registration(VARIABLE, "peerup", "peerup", "peerup", &mut text)
        .map_err(|error| failed(error.to_string()))?;
    String::from_utf8(text).map_err(|error| failed(error.to_string()))
}
