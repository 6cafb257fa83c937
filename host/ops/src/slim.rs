//! Letting go of the memory that only the start needed.
//!
//! A start runs through a good part of the program once: arguments, config, plugins, keys. The kernel maps the pages of
//! code and constants around every one that is touched, and they stay in the process for as long as nobody else wants the
//! memory. Unmapped, they are still in the page cache, and those that are needed again come back without a read.

use std::ops::Range;

/// Unmaps the pages of code and constants that hold what their file holds. What is needed comes back by itself. Returns how
/// many bytes of mappings were looked through; zero where the system tells of none.
pub fn let_go_of_the_start() -> usize {
    #[cfg(target_os = "linux")]
    if let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") {
        let mappings = unchanged(&smaps);
        mappings.iter().for_each(linux::unmap);
        return mappings.iter().map(ExactSizeIterator::len).sum();
    }
    0
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ops::Range;

    use rustix::mm::{Advice, madvise};

    #[expect(unsafe_code, reason = "the kernel is told about memory by address")]
    pub(super) fn unmap(mapping: &Range<usize>) {
        let start = std::ptr::with_exposed_provenance_mut(mapping.start);
        // SAFETY: the mapping is one of a file, is not writable, and has no page of its own (`unchanged`): every
        // page of it is read from the file again when it is next touched, and has the same bytes.
        // That the kernel refuses changes nothing.
        let _ = unsafe { madvise(start, mapping.len(), Advice::LinuxDontNeed) };
    }
}

/// Finds the mappings of files that this process cannot write to and has changed no page of. The relocated constants of
/// the program are read-only too, and are left out: their pages differ from the file.
fn unchanged(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(mapping) = read_head(line) {
            candidate = mapping;
        } else if let Some(rest) = line.strip_prefix("Anonymous:")
            && rest.trim() == "0 kB"
        {
            found.extend(candidate.take());
        }
    }
    found
}

/// Reads the first line of a mapping: none where it is another line, and none inside where it is not one of those
/// that are looked for.
fn read_head(line: &str) -> Option<Option<Range<usize>>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    let rights = words.next()?;
    // Offset, device, inode.
    let path = words.nth(3).unwrap_or_default();
    let of_file = path.starts_with('/') && rights.starts_with('r') && rights.ends_with('p');
    Some((of_file && !rights.contains('w')).then_some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0-55e0 r--p 00000000 fe:00 10 /usr/bin/peerup
Rss:  16 kB
Anonymous:             0 kB
55e0-55f0 r-xp 00010000 fe:00 10 /usr/bin/peerup
Anonymous:             0 kB
55f0-5600 r--p 00020000 fe:00 10 /usr/bin/peerup
Anonymous:             4 kB
5600-5610 rw-p 00030000 fe:00 10 /usr/bin/peerup
Anonymous:             0 kB
7000-7010 r-xp 00000000 00:00 0
Anonymous:             0 kB
7010-7020 r--s 00000000 fe:00 11 /var/shared
Anonymous:             0 kB
7020-7030 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7030-7040 ---p 00000000 fe:00 12 /usr/lib/libc.so.6
Anonymous:             0 kB
";

    #[test]
    fn only_unchanged_mappings_of_files_are_taken() {
        assert_eq!(unchanged(SMAPS), [0x55d0..0x55e0, 0x55e0..0x55f0]);
        assert!(unchanged("").is_empty());
        assert!(unchanged("Anonymous: 0 kB\n-\nx-y r--p\n").is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_program_runs_on_without_its_pages() {
        let constant = std::hint::black_box("what stands in the file stands there again");
        assert!(let_go_of_the_start() > 0);
        assert_eq!(constant.len(), 42);
        assert_eq!(format!("{:.3}", f64::sqrt(std::hint::black_box(2.0))), "1.414");
    }
}
