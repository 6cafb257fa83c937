//! `man`: the manual, a page for each command, made of the definition of the command line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use peerup_model::Failure;

use super::failed;
use crate::{arguments::Arguments, context::Context, output};

/// One page.
#[derive(Debug)]
struct Page {
    /// `peerup-proxy-add.1`.
    file: String,
    text: Vec<u8>,
}

pub(crate) fn run(context: &Context, dir: Option<&Path>) -> Result<(), Failure> {
    let pages = pages()?;
    let Some(dir) = dir else {
        let first = pages.first().map(|page| page.text.as_slice()).unwrap_or_default();
        return output::line(String::from_utf8_lossy(first).trim_end());
    };
    fs::create_dir_all(dir)
        .map_err(|error| failed(format!("the folder {} cannot be made: {error}", dir.display())))?;
    for page in &pages {
        let path: PathBuf = dir.join(&page.file);
        fs::write(&path, &page.text)
            .map_err(|error| failed(format!("{} cannot be written: {error}", path.display())))?;
    }
    let count = pages.len();
    context.note(&format!(
        "{count} pages in {}; read them with: man -l {}",
        dir.display(),
        dir.join("peerup.1").display()
    ));
    Ok(())
}

/// Every page, that of peerup itself first.
fn pages() -> Result<Vec<Page>, Failure> {
    let mut root = Arguments::command();
    root.build();
    let mut pages = Vec::new();
    add(&root, "peerup", &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, name: &str, pages: &mut Vec<Page>) -> Result<(), Failure> {
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|command| command.get_name() != "help" && !command.is_hide_set())
        .collect();
    let described = command
        .clone()
        .name(name.to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    let mut text = Vec::new();
    Man::new(described)
        .manual("peerup")
        .source(concat!("peerup ", env!("CARGO_PKG_VERSION")))
        .date("")
        .render(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    pages.push(Page {
        file: format!("{name}.1"),
        text,
    });
    below
        .into_iter()
        .try_for_each(|command| add(command, &format!("{name}-{}", command.get_name()), pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        fn names(command: &Command, name: &str, into: &mut Vec<String>) {
            into.push(format!("{name}.1"));
            for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
                names(below, &format!("{name}-{}", below.get_name()), into);
            }
        }
        let mut expected = Vec::new();
        names(&Arguments::command(), "peerup", &mut expected);
        let pages = pages().unwrap();
        let files: Vec<&String> = pages.iter().map(|page| &page.file).collect();
        assert_eq!(files, expected.iter().collect::<Vec<_>>());
        for page in &pages {
            let text = String::from_utf8(page.text.clone()).unwrap();
            for section in [".TH ", ".SH NAME", ".SH SYNOPSIS"] {
                assert!(text.contains(section), "{}: {text}", page.file);
            }
        }
    }
}
