//! Text that came from elsewhere and is about to be shown or stored: what is stripped, where it is cut.
//!
//! Pure. Everything in this crate that writes a comment or shows a foreign word passes through here.

use std::path::Path;

/// Returns whether a character may stand in a stored comment: no C0 or C1 control, no line or paragraph
/// separator, nothing that reorders or hides what a terminal shows.
pub(crate) fn is_plain(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !hidden
}

/// Returns the text without control and reordering characters, trimmed, cut to `max` bytes at a character.
pub(crate) fn plain(text: &str, max: usize) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| is_plain(*c)) {
        // Leading space is dropped here, so that it does not use up the room.
        if kept.is_empty() && c.is_whitespace() {
            continue;
        }
        if kept.len() + c.len_utf8() > max {
            break;
        }
        kept.push(c);
    }
    kept.truncate(kept.trim_end().len());
    kept
}

/// Returns the path as one word for a POSIX shell, quoted only where it must be.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(safe) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_what_a_terminal_would_obey_or_hide() {
        let text = " a\u{1b}[31m\u{9b}b\u{202e}c\u{2066}\u{2028}\r\n\0d ";
        assert_eq!(plain(text, 100), "a[31mbcd");
        assert_eq!(plain("ääää", 5), "ää");
        assert_eq!(plain("ab cd", 3), "ab");
    }

    #[test]
    fn quotes_a_path_only_where_a_shell_would_split_it() {
        assert_eq!(shell_word(Path::new("/a/b-c.key")), "/a/b-c.key");
        assert_eq!(shell_word(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        assert_eq!(shell_word(Path::new("-rf")), "'-rf'");
    }
}
