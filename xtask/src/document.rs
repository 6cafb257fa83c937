//! Documents with a part that a chore writes: what stands between two comment lines is replaced.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Replaces what stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in a file.
///
/// # Errors
/// Where the file cannot be read or written, or lacks one of the two lines.
pub(crate) fn write_between(path: &Path, name: &str, text: &str) -> Result<()> {
    let shown = path.display();
    let document = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let replaced = replace_between(&document, name, text).with_context(|| format!("in {shown}"))?;
    fs::write(path, replaced).with_context(|| format!("cannot write {shown}"))
}

fn replace_between(document: &str, name: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- {name}: begin -->");
    let end = format!("<!-- {name}: end -->");
    let (head, rest) = document
        .split_once(&begin)
        .with_context(|| format!("no line {begin}"))?;
    let (_, tail) = rest.split_once(&end).with_context(|| format!("no line {end}"))?;
    Ok(format!("{head}{begin}\n{}\n{end}{tail}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_lines_is_replaced() {
        let document = "above\n<!-- x: begin -->\nold\n<!-- x: end -->\nbelow\n";
        assert_eq!(
            replace_between(document, "x", "new\n").unwrap(),
            "above\n<!-- x: begin -->\nnew\n<!-- x: end -->\nbelow\n"
        );
    }

    #[test]
    fn a_document_without_the_lines_is_refused() {
        for document in ["nothing", "<!-- x: begin --> only"] {
            assert!(replace_between(document, "x", "new").is_err());
        }
    }
}
