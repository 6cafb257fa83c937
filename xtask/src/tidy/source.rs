//! A Rust file with its comments and literals blanked out, so that braces and paths can be looked for
//! as text. It is a lexer for that purpose and no more: macros are text like everything else.

use std::path::PathBuf;

/// One `.rs` file.
pub(crate) struct SourceFile {
    /// Relative to the root of the repository.
    pub(crate) path: PathBuf,
    /// As it is.
    pub(crate) text: String,
    /// As long as `text` in characters and with the same lines, but with blanks in place of comments
    /// and of what stands in quotes.
    pub(crate) code: String,
}

impl SourceFile {
    /// Blanks out what is not code.
    pub(crate) fn new(path: PathBuf, text: String) -> Self {
        let code = blank(&text);
        Self { path, text, code }
    }

    /// Returns the code without its test modules.
    pub(crate) fn code_without_tests(&self) -> String {
        let mut rest = self.code.as_str();
        let mut kept = String::with_capacity(rest.len());
        while let Some(at) = rest.find("#[cfg(test)]") {
            let (before, after) = rest.split_at(at);
            kept.push_str(before);
            rest = skip_item(after);
        }
        kept.push_str(rest);
        kept
    }
}

/// Returns what follows the item that `text` begins with: up to a `;` or the end of its braces.
fn skip_item(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = depth == 0 && (character == '}' || character == ';');
        if ends {
            return text.get(at + 1..).unwrap_or_default();
        }
    }
    ""
}

fn blank(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = characters.get(at..).unwrap_or_default();
        let previous = at.checked_sub(1).and_then(|before| characters.get(before));
        let after_word = previous.is_some_and(|character| is_word(*character));
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r' | 'b' | 'c', ..] if !after_word => prefixed_literal(rest),
            ['"', ..] => quoted(rest, '"'),
            ['\'', ..] => character_literal(rest),
            _ => 0,
        };
        if length == 0 {
            out.extend(rest.first());
            at += 1;
        } else {
            let blanked = rest.iter().take(length);
            out.extend(blanked.map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    out
}

/// Returns whether the character can stand in a name.
pub(super) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest.get(at..).unwrap_or_default() {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `"..."`, `b"..."` and the like, escapes included; `rest` begins with the quote.
fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while let Some(character) = rest.get(at) {
        match character {
            '\\' => at += 2,
            c if *c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a literal with a prefix (`r#"`, `b"`, `br"`, `c"`, `b'`); 0 where it is a name.
fn prefixed_literal(rest: &[char]) -> usize {
    let prefix = rest
        .iter()
        .take(2)
        .take_while(|c| matches!(c, 'r' | 'b' | 'c'))
        .count();
    let raw = rest.iter().take(prefix).any(|c| *c == 'r');
    let hashes = rest.iter().skip(prefix).take_while(|c| **c == '#').count();
    let body = rest.get(prefix + hashes..).unwrap_or_default();
    match body {
        ['"', ..] if raw => prefix + hashes + raw_body(body, hashes),
        ['"', ..] if hashes == 0 => prefix + quoted(body, '"'),
        ['\'', ..] if hashes == 0 && rest.first() == Some(&'b') => prefix + quoted(body, '\''),
        _ => 0,
    }
}

fn raw_body(body: &[char], hashes: usize) -> usize {
    let mut at = 1;
    while at < body.len() {
        let closing = body.iter().skip(at + 1).take_while(|c| **c == '#').count() >= hashes;
        if body.get(at) == Some(&'"') && closing {
            return at + 1 + hashes;
        }
        at += 1;
    }
    body.len()
}

/// The length of a character literal; 0 where the quote begins a lifetime.
fn character_literal(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', ..] => quoted(rest, '\''),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        SourceFile::new(PathBuf::new(), text.to_owned()).code
    }

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "a /* { /* } */ */ b // {\n\"{\\\"}\" r#\"}\"\"# '{' b'}' 'life";
        let blanked = code(text);
        assert!(!blanked.contains('{') && !blanked.contains('}'), "{blanked}");
        assert!(blanked.contains("'life") && blanked.contains('b'));
        assert_eq!(blanked.lines().count(), text.lines().count());
        assert_eq!(blanked.chars().count(), text.chars().count());
    }

    #[test]
    fn test_modules_are_cut_and_what_follows_is_kept() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { crate::x(); } }\nfn c() {}";
        let file = SourceFile::new(PathBuf::new(), text.to_owned());
        let kept = file.code_without_tests();
        assert!(kept.contains("fn a") && kept.contains("fn c") && !kept.contains("crate::x"));
    }
}
