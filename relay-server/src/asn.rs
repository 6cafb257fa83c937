//! Which AS number an IP address belongs to, by a table that the operator gives.
//!
//! The table is a text file. A line is `PREFIX ASN`, as pyasn writes it, or `FIRST LAST ASN ...`, as iptoasn.com does;
//! fields are parted by blanks or tabs, `#` begins a comment, `AS` before a number is understood, and AS 0 means that
//! nobody announces the addresses. The longest prefix that holds an address decides. Pure but for [`AsnTable::load`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes; the whole routing table of today has a third of that.
const MAX_FILE: u64 = 128 << 20;
/// The longest line, in bytes.
const MAX_LINE: u64 = 512;
/// Nodes of a table: the whole routing table of today needs a third of that, at twelve bytes a node.
const MAX_NODES: usize = 12_000_000;

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AsnError {
    /// The file cannot be read.
    #[error("the table of AS numbers {} cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line does not hold.
    #[error("the table of AS numbers {} does not hold, line {line}: {why}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: LineError,
    },
    /// It has more prefixes than fit.
    #[error("the table of AS numbers is too large: {MAX_NODES} nodes do not hold it")]
    TooLarge,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It has neither of the two forms.
    #[error("expected `PREFIX ASN` or `FIRST LAST ASN`")]
    Form,
    /// The prefix is none.
    #[error("this is no prefix such as 192.0.2.0/24 or 2001:db8::/32")]
    Prefix,
    /// The range is none.
    #[error("the two addresses are no range")]
    Range,
    /// The number is none.
    #[error("this is no AS number")]
    Number,
    /// It is too long.
    #[error("the line is longer than {MAX_LINE} bytes")]
    Long,
}

/// A block of addresses: its first one, left-aligned in 128 bits, and how many bits are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefix {
    bits: u128,
    length: u8,
    v6: bool,
}

/// One step down by a bit. Index 0 is no node: nothing points back at a root.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    children: [u32; 2],
    /// The AS number of the block that ends here; 0 where none does.
    asn: u32,
}

/// A table in use.
#[derive(Debug)]
pub struct AsnTable {
    /// The first two are the roots of IPv4 and IPv6.
    nodes: Vec<Node>,
    prefixes: usize,
}

impl Default for AsnTable {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default(); 2],
            prefixes: 0,
        }
    }
}

impl AsnTable {
    /// Reads a table. Blocks on the disk for as long as that takes.
    ///
    /// # Errors
    /// Unreadable, too large, or with a line that does not hold.
    pub fn load(path: &Path) -> Result<Self, AsnError> {
        let unreadable = |source| AsnError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.len() > MAX_FILE {
            return Err(AsnError::TooLarge);
        }
        let mut table = Self::default();
        let mut reader = BufReader::new(file.take(MAX_FILE));
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            let read = reader
                .by_ref()
                .take(MAX_LINE + 1)
                .read_line(&mut text)
                .map_err(unreadable)?;
            if read == 0 {
                break;
            }
            let refused = |why| AsnError::Line {
                path: path.to_owned(),
                line,
                why,
            };
            if read as u64 > MAX_LINE {
                return Err(refused(LineError::Long));
            }
            for (prefix, asn) in parse_line(&text).map_err(refused)? {
                table.insert(prefix, asn)?;
            }
        }
        table.nodes.shrink_to_fit();
        Ok(table)
    }

    /// Returns the AS number of an address. An IPv4 address in IPv6 clothes is one of IPv4.
    pub fn find(&self, ip: IpAddr) -> Option<u32> {
        let (mut bits, root, length) = aligned(ip);
        let mut node = self.nodes.get(root)?;
        let mut found = node.asn;
        for _ in 0..length {
            let [zero, one] = node.children;
            let next = if bits >> 127 == 1 { one } else { zero };
            if next == 0 {
                break;
            }
            node = self.nodes.get(next as usize)?;
            if node.asn != 0 {
                found = node.asn;
            }
            bits <<= 1;
        }
        Some(found).filter(|asn| *asn != 0)
    }

    /// Returns how many prefixes it holds.
    pub fn len(&self) -> usize {
        self.prefixes
    }

    /// Returns whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.prefixes == 0
    }

    fn insert(&mut self, prefix: Prefix, asn: u32) -> Result<(), AsnError> {
        let mut at = usize::from(prefix.v6);
        let mut bits = prefix.bits;
        for _ in 0..prefix.length {
            let is_one = bits >> 127 == 1;
            bits <<= 1;
            let made = u32::try_from(self.nodes.len()).map_err(|_| AsnError::TooLarge)?;
            let node = self.nodes.get_mut(at).ok_or(AsnError::TooLarge)?;
            let [zero, one] = &mut node.children;
            let child = if is_one { one } else { zero };
            at = match *child {
                0 => {
                    *child = made;
                    if self.nodes.len() >= MAX_NODES {
                        return Err(AsnError::TooLarge);
                    }
                    self.nodes.push(Node::default());
                    made as usize
                }
                next => next as usize,
            };
        }
        let node = self.nodes.get_mut(at).ok_or(AsnError::TooLarge)?;
        self.prefixes += usize::from(node.asn == 0);
        node.asn = asn;
        Ok(())
    }
}

/// Returns an address left-aligned, its root, and its length in bits.
fn aligned(ip: IpAddr) -> (u128, usize, u8) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 0, 32),
        IpAddr::V6(ip) => (u128::from(ip), 1, 128),
    }
}

/// Reads one line: its prefixes with their number. None of a line that says nothing.
fn parse_line(line: &str) -> Result<Vec<(Prefix, u32)>, LineError> {
    let line = line.split('#').next().unwrap_or_default();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (prefixes, asn) = match fields.as_slice() {
        [] => return Ok(Vec::new()),
        [prefix, asn] => (vec![parse_prefix(prefix)?], asn),
        [first, last, asn, ..] => (parse_range(first, last)?, asn),
        _ => return Err(LineError::Form),
    };
    let digits = asn.strip_prefix("AS").unwrap_or(asn);
    let asn: u32 = digits.parse().map_err(|_| LineError::Number)?;
    if asn == 0 {
        return Ok(Vec::new());
    }
    Ok(prefixes.into_iter().map(|prefix| (prefix, asn)).collect())
}

fn parse_prefix(text: &str) -> Result<Prefix, LineError> {
    let (ip, length) = text.split_once('/').ok_or(LineError::Prefix)?;
    let ip: IpAddr = ip.parse().map_err(|_| LineError::Prefix)?;
    let length: u8 = length.parse().map_err(|_| LineError::Prefix)?;
    let (bits, v6) = match ip {
        IpAddr::V4(ip) if length <= 32 => (u128::from(u32::from(ip)) << 96, false),
        IpAddr::V6(ip) if length <= 128 => (u128::from(ip), true),
        _ => return Err(LineError::Prefix),
    };
    Ok(Prefix { bits, length, v6 })
}

/// Cuts a range into prefixes: at most two for each bit.
fn parse_range(first: &str, last: &str) -> Result<Vec<Prefix>, LineError> {
    let parsed = (first.parse(), last.parse());
    let (Ok(first), Ok(last)) = parsed else {
        return Err(LineError::Range);
    };
    let (mut from, to, width, v6) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let wide = |ip: Ipv4Addr| u128::from(u32::from(ip));
            (wide(first), wide(last), 32_u8, false)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let wide = |ip: Ipv6Addr| u128::from(ip);
            (wide(first), wide(last), 128, true)
        }
        _ => return Err(LineError::Range),
    };
    if from > to {
        return Err(LineError::Range);
    }
    let mut prefixes = Vec::new();
    loop {
        // The largest block that begins here and does not reach past the end.
        let mut free = u8::try_from(from.trailing_zeros()).unwrap_or(128).min(width);
        let end = |free: u8| match free {
            128 => u128::MAX,
            free => from + ((1_u128 << free) - 1),
        };
        while free > 0 && end(free) > to {
            free -= 1;
        }
        let last_of_block = end(free);
        prefixes.push(Prefix {
            bits: match v6 {
                true => from,
                false => from << 96,
            },
            length: width - free,
            v6,
        });
        if last_of_block >= to {
            return Ok(prefixes);
        }
        from = last_of_block + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(text: &str) -> AsnTable {
        let mut table = AsnTable::default();
        for line in text.lines() {
            for (prefix, asn) in parse_line(line).unwrap() {
                table.insert(prefix, asn).unwrap();
            }
        }
        table
    }

    fn find(table: &AsnTable, ip: &str) -> Option<u32> {
        table.find(ip.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_decides() {
        let table =
            table("10.0.0.0/8 1\n10.1.0.0/16\t2\n10.1.2.3/32 AS3 # a host\n\n# nothing\n2001:db8::/32 4\n");
        for (ip, asn) in [
            ("10.9.9.9", Some(1)),
            ("10.1.9.9", Some(2)),
            ("10.1.2.3", Some(3)),
            ("::ffff:10.1.2.3", Some(3)),
            ("11.0.0.1", None),
            ("2001:db8::1", Some(4)),
            ("2001:db9::1", None),
        ] {
            assert_eq!(find(&table, ip), asn, "{ip}");
        }
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn a_default_route_and_whole_ranges_are_understood() {
        let table = table(
            "0.0.0.0/0 1\n1.0.0.0\t1.0.2.255\t13335\tUS\tCLOUDFLARENET\n5.0.0.0 5.255.255.255 0 None Not routed\n\
             ::\tffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\t7\n0.0.0.0 0.0.0.0 9",
        );
        assert_eq!(find(&table, "1.0.0.0"), Some(13335));
        assert_eq!(find(&table, "1.0.2.255"), Some(13335));
        assert_eq!(find(&table, "1.0.3.0"), Some(1));
        assert_eq!(find(&table, "5.1.1.1"), Some(1));
        assert_eq!(find(&table, "fe80::1"), Some(7));
        assert_eq!(find(&table, "0.0.0.0"), Some(9));
    }

    #[test]
    fn a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("asn.txt");
        for (line, why) in [
            ("10.0.0.0/8", LineError::Form),
            ("10.0.0.0/33 1", LineError::Prefix),
            ("::/129 1", LineError::Prefix),
            ("ten/8 1", LineError::Prefix),
            ("10.0.0.9 10.0.0.1 1", LineError::Range),
            ("10.0.0.1 ::1 1", LineError::Range),
            ("10.0.0.0/8 x", LineError::Number),
            ("10.0.0.0/8 4294967296", LineError::Number),
        ] {
            std::fs::write(&path, format!("192.0.2.0/24 1\n{line}\n")).unwrap();
            match AsnTable::load(&path) {
                Err(AsnError::Line {
                    line: 2, why: found, ..
                }) => assert_eq!(found, why, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        std::fs::write(&path, "x".repeat(1 << 20)).unwrap();
        let refused = AsnTable::load(&path);
        assert!(matches!(
            refused,
            Err(AsnError::Line {
                line: 1,
                why: LineError::Long,
                ..
            })
        ));
        assert!(matches!(
            AsnTable::load(folder.path()),
            Err(AsnError::Read { .. })
        ));
    }

    fn prefixes() -> impl Strategy<Value = Vec<(u32, u8, u32)>> {
        // Close together, so that they nest.
        prop::collection::vec((0u32..4096, 16u8..=32, 1u32..50), 0..80)
    }

    proptest! {
        #[test]
        fn finds_what_a_search_through_all_prefixes_finds(
            prefixes in prefixes(), asked in prop::collection::vec(0u32..8192, 1..50),
        ) {
            let mut table = AsnTable::default();
            let mask = |length: u8| u32::MAX << (32 - u32::from(length));
            for (bits, length, asn) in &prefixes {
                let prefix = Prefix { bits: u128::from(bits & mask(*length)) << 96, length: *length, v6: false };
                table.insert(prefix, *asn).unwrap();
            }
            for ip in asked {
                let holds = |(bits, length, _): &&(u32, u8, u32)| (bits ^ ip) & mask(*length) == 0;
                // The last line of several for one prefix counts.
                let naive = prefixes.iter().filter(holds).max_by_key(|(_, length, _)| *length).map(|(.., asn)| *asn);
                prop_assert_eq!(table.find(Ipv4Addr::from(ip).into()), naive);
            }
        }

        #[test]
        fn a_range_is_cut_into_exactly_itself(from in 0u32..5000, size in 0u32..5000, asked in 0u32..12_000) {
            let (first, last) = (Ipv4Addr::from(from), Ipv4Addr::from(from + size));
            let table = table(&format!("{first} {last} 5"));
            let inside = (from..=from + size).contains(&asked);
            prop_assert_eq!(table.find(Ipv4Addr::from(asked).into()).is_some(), inside);
            // And high up in IPv6, where a block may have 128 free bits.
            let (first, last) = (Ipv6Addr::from(u128::MAX - u128::from(from + size)), Ipv6Addr::from(u128::MAX - u128::from(from)));
            let prefixes = parse_range(&first.to_string(), &last.to_string()).unwrap();
            let covered: u128 = prefixes.iter().map(|prefix| 1_u128 << (128 - prefix.length)).sum();
            prop_assert_eq!(covered, u128::from(size) + 1);
        }

        #[test]
        fn reading_a_line_never_panics(line in ".{0,60}") {
            let _ = parse_line(&line);
        }
    }
}
