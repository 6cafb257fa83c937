//! Cycles between the top-level modules of a crate, found by the `crate::...` paths in their code.
//!
//! A name that the crate's root re-exports counts as a use of the module that it comes from, so a cycle
//! cannot hide behind `pub use`. Test modules do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::source::{SourceFile, is_word};

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Returns a complaint for each crate whose modules form a cycle.
pub(super) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut crates: BTreeMap<String, Vec<&SourceFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| !is_test(&file.path)) {
        if let Some((name, _)) = place(&file.path) {
            crates.entry(name).or_default().push(file);
        }
    }
    let mut complaints = Vec::new();
    for (name, files) in crates {
        if let Some(cycle) = find_cycle(&graph(&files)) {
            complaints.push(format!("{name}: modules form a cycle: {}", cycle.join(" -> ")));
        }
    }
    complaints
}

/// Splits `host/net/src/a/b.rs` into the crate's folder and the top-level module `a`.
fn place(path: &Path) -> Option<(String, String)> {
    let path = path.to_string_lossy().into_owned();
    let (folder, inside) = path.split_once("/src/")?;
    let first = inside.split('/').next()?;
    Some((folder.to_owned(), first.trim_end_matches(".rs").to_owned()))
}

/// A test module in a file of its own, `a/tests.rs` or below `a/tests/`.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests.rs" || part == "tests")
}

fn is_root(module: &str) -> bool {
    matches!(module, "lib" | "main" | "bin")
}

fn graph(files: &[&SourceFile]) -> Graph {
    let modules: BTreeSet<String> = files
        .iter()
        .filter_map(|file| place(&file.path))
        .map(|(_, module)| module)
        .filter(|module| !is_root(module))
        .collect();
    let reexports = reexports(files, &modules);
    let mut graph = Graph::new();
    for file in files {
        let Some((_, module)) = place(&file.path) else {
            continue;
        };
        if is_root(&module) {
            continue;
        }
        let uses = graph.entry(module.clone()).or_default();
        for name in names_after(&file.code_without_tests(), "crate::") {
            let target = if modules.contains(&name) {
                Some(&name)
            } else {
                reexports.get(&name)
            };
            uses.extend(target.filter(|target| **target != module).cloned());
        }
    }
    graph
}

/// Returns which module each name of the root's `pub use module::...` comes from.
fn reexports(files: &[&SourceFile], modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut origin = BTreeMap::new();
    let roots = files
        .iter()
        .filter(|file| place(&file.path).is_some_and(|(_, module)| is_root(&module)));
    for root in roots {
        for statement in root.code.split(';') {
            let Some((_, path)) = statement.rsplit_once("use ") else {
                continue;
            };
            let Some((module, names)) = path.trim().split_once("::") else {
                continue;
            };
            if modules.contains(module) {
                let names = names.split(|c: char| !is_word(c)).filter(|name| !name.is_empty());
                origin.extend(names.map(|name| (name.to_owned(), module.to_owned())));
            }
        }
    }
    origin
}

/// Returns the first name of each path after `prefix`, groups in braces included.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        if before.is_some_and(|c| is_word(c) || c == '$') {
            continue;
        }
        let rest = code.get(at + prefix.len()..).unwrap_or_default();
        if rest.starts_with('{') {
            names.extend(group(rest));
        } else {
            names.push(word(rest));
        }
    }
    names
}

/// Returns the first name of each member of `{a::b, c::{d, e}, f}`.
fn group(rest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut fresh = false;
    for (at, character) in rest.char_indices() {
        match character {
            '{' => {
                depth += 1;
                fresh = depth == 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' => fresh = depth == 1,
            c if fresh && is_word(c) => {
                names.push(word(rest.get(at..).unwrap_or_default()));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

/// Returns one cycle, its first module repeated at the end.
fn find_cycle(graph: &Graph) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        let mut trail = Vec::new();
        if let Some(cycle) = walk(graph, start, &mut trail, &mut done) {
            return Some(cycle);
        }
    }
    None
}

fn walk(
    graph: &Graph,
    module: &String,
    trail: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(at) = trail.iter().position(|seen| seen == module) {
        let mut cycle: Vec<String> = trail.iter().skip(at).cloned().collect();
        cycle.push(module.clone());
        return Some(cycle);
    }
    if done.contains(module) {
        return None;
    }
    trail.push(module.clone());
    for next in graph.get(module).into_iter().flatten() {
        if let Some(cycle) = walk(graph, next, trail, done) {
            return Some(cycle);
        }
    }
    trail.pop();
    done.insert(module.clone());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile::new(path.into(), text.to_owned())
    }

    #[test]
    fn a_cycle_is_named() {
        let files = [
            file("x/src/a.rs", "use crate::{b::One, z};"),
            file("x/src/b/inner.rs", "fn f() { crate::c::g() }"),
            file("x/src/c.rs", "use crate::a::H;"),
        ];
        assert_eq!(check(&files), ["x: modules form a cycle: a -> b -> c -> a"]);
    }

    #[test]
    fn a_cycle_cannot_hide_behind_the_root() {
        let files = [
            file(
                "x/src/lib.rs",
                "mod a; mod b; pub use a::{One, Two}; pub use b::Three;",
            ),
            file("x/src/a.rs", "use crate::Three;"),
            file("x/src/b.rs", "use crate::One;"),
        ];
        assert_eq!(check(&files).len(), 1);
    }

    #[test]
    fn comments_tests_and_other_crates_do_not_count() {
        let files = [
            file("x/src/a.rs", "use crate::b::One;"),
            file(
                "x/src/b.rs",
                "// crate::a\nuse other_crate::a;\n#[cfg(test)]\nmod tests { use crate::a::One; }",
            ),
            file("x/src/b/tests.rs", "use crate::a::One;"),
            file("y/src/b.rs", "use crate::a::One;"),
        ];
        assert!(check(&files).is_empty());
    }
}
