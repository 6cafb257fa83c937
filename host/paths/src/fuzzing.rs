//! One entry for each decoder that meets foreign bytes, shared by the fuzz targets and the corpus test.
//!
//! Each must return for any input, and checks that what was read is written back the same.

use crate::{MAX_CANDIDATE, MAX_CANDIDATES, MAX_PATH_INFO, PathInfo, is_candidate};

/// Reads a path message; one that holds keeps its bounds and is read again from its own bytes.
pub fn path_info(data: &[u8]) {
    let Ok(info) = PathInfo::decode(data) else {
        return;
    };
    assert!(info.candidates.len() <= MAX_CANDIDATES);
    for candidate in &info.candidates {
        assert!(candidate.len() <= MAX_CANDIDATE && is_candidate(candidate));
    }
    let bytes = info.encode();
    assert!(bytes.len() <= MAX_PATH_INFO);
    assert_eq!(PathInfo::decode(&bytes), Ok(info));
}
