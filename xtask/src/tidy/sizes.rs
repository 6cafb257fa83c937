//! Long files and long functions: listed, not refused.

use super::source::{SourceFile, is_word};

/// Past this many lines a file is worth a second look.
const LONG_FILE: usize = 600;
/// Past this many lines a function is.
const LONG_FUNCTION: usize = 80;

/// Prints what is long, the longest first.
pub(super) fn report(files: &[SourceFile]) {
    let mut long = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        if lines > LONG_FILE {
            long.push((lines, format!("{}", file.path.display())));
        }
        for (name, line, length) in functions(&file.code) {
            if length > LONG_FUNCTION {
                long.push((length, format!("{}:{line} fn {name}", file.path.display())));
            }
        }
    }
    long.sort_by(|one, other| other.cmp(one));
    for (lines, what) in long {
        println!("tidy: {lines:>5} lines  {what}");
    }
}

/// Returns name, first line and number of lines of each function with a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code.get(..at).unwrap_or_default();
        if before.chars().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = code.get(at + 3..).unwrap_or_default();
        let name: String = rest.trim_start().chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            continue;
        }
        if let Some(length) = body_lines(rest) {
            found.push((name, before.lines().count().max(1), length));
        }
    }
    found
}

/// Counts the lines from the signature to the closing brace; none for a declaration.
fn body_lines(rest: &str) -> Option<usize> {
    let mut parentheses = 0_i32;
    let mut braces = 0_i32;
    let mut lines = 1;
    for character in rest.chars() {
        match character {
            '\n' => lines += 1,
            '(' | '[' => parentheses += 1,
            ')' | ']' => parentheses -= 1,
            ';' if parentheses == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return Some(lines);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_by_their_braces() {
        let code =
            "trait T { fn no(&self) -> [u8; 4]; }\nfn one() {\n  if x {\n  }\n}\nasync fn two<T>(a: T) { }";
        let found = functions(code);
        let names: Vec<_> = found
            .iter()
            .map(|(name, _, lines)| (name.as_str(), *lines))
            .collect();
        assert_eq!(names, [("one", 4), ("two", 1)]);
    }
}
