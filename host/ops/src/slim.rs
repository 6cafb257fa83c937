//! Letting go of the memory that only the start needed.
//!
//! A start runs through a good part of the program once: arguments, config, plugins, keys. The kernel maps the pages of
//! code and constants around every one that is touched, and they stay in the process for as long as nobody else wants the
//! memory. Unmapped, they are still in the page cache, and those that are needed again come back without a read.

use std::ops::Range;

/// Unmaps the pages of the program's code and constants that hold what its file holds. What is needed comes back by itself.
/// Returns how many bytes of mappings that were; zero where the system tells of none.
pub fn let_go_of_the_start() -> usize {
    #[cfg(target_os = "linux")]
    if let (Ok(smaps), Ok(program)) = (
        std::fs::read_to_string("/proc/self/smaps"),
        std::fs::read_link("/proc/self/exe"),
    ) {
        let mappings = unchanged(&smaps, &program.to_string_lossy());
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
        // SAFETY: the mapping is one of the program's own file, which nothing unmaps while it runs. It is not writable and has
        // no page of its own, neither in memory nor on swap (`unchanged`): every page of it is read from the
        // file again when it is next touched, and has the same bytes. That the kernel refuses changes nothing.
        let _ = unsafe { madvise(start, mapping.len(), Advice::LinuxDontNeed) };
    }
}

/// Finds the mappings of the program that cannot be written to and have no page that differs from the file. Its relocated
/// constants are read-only too, and are left out: their pages are the process's own, in memory or on swap.
fn unchanged(smaps: &str, program: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(mapping) = read_head(line, program) {
            candidate = mapping;
        } else if let Some(("Anonymous", amount)) = line.split_once(':') {
            candidate = candidate.filter(|_| amount.trim() == "0 kB");
        } else if let Some(("Swap", amount)) = line.split_once(':') {
            // It comes after `Anonymous`, and is the last that is asked for.
            found.extend(candidate.take().filter(|_| amount.trim() == "0 kB"));
        }
    }
    found
}

/// Reads the first line of a mapping: none where it is another line, and none inside where it is not one of those
/// that are looked for.
fn read_head(line: &str, program: &str) -> Option<Option<Range<usize>>> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    let (rights, rest) = rest.split_once(' ')?;
    // Offset, device, inode; a path may have spaces, and a program that was replaced is called deleted in both places.
    let path = rest.splitn(4, ' ').nth(3).unwrap_or_default().trim_start();
    let fits = path == program && rights.starts_with('r') && !rights.contains('w') && rights.ends_with('p');
    Some(fits.then_some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "/opt/a b/peerup (deleted)";

    /// One mapping: range, rights, path, and what it has of its own in memory and on swap.
    fn smaps(mappings: &[(&str, &str, &str, u32, u32)]) -> String {
        let of = |(range, rights, path, anonymous, swap): &(&str, &str, &str, u32, u32)| {
            format!(
                "{range} {rights} 00010000 fe:00 10   {path}\nRss: 16 kB\nAnonymous:  {anonymous} kB\nSwap:  {swap} kB\nVmFlags: rd\n"
            )
        };
        mappings.iter().map(of).collect()
    }

    #[test]
    fn only_unchanged_mappings_of_the_program_are_taken() {
        let text = smaps(&[
            ("55d0-55e0", "r--p", PROGRAM, 0, 0),
            ("55e0-55f0", "r-xp", PROGRAM, 0, 0),
            ("55f0-5600", "r--p", PROGRAM, 4, 0),
            ("5600-5610", "r--p", PROGRAM, 0, 4),
            ("5610-5620", "rw-p", PROGRAM, 0, 0),
            ("5620-5630", "r--s", PROGRAM, 0, 0),
            ("5630-5640", "---p", PROGRAM, 0, 0),
            ("7000-7010", "r-xp", "", 0, 0),
            ("7010-7020", "r-xp", "/usr/lib/libc.so.6", 0, 0),
            ("7020-7030", "r-xp", "[vdso]", 0, 0),
        ]);
        assert_eq!(unchanged(&text, PROGRAM), [0x55d0..0x55e0, 0x55e0..0x55f0]);
        assert!(unchanged("", PROGRAM).is_empty());
        assert!(unchanged("Anonymous: 0 kB\nSwap: 0 kB\n-\nx-y r--p\n", PROGRAM).is_empty());
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
