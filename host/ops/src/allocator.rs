//! The programs' allocator: mimalloc, and mappings of their own for large blocks.
//!
//! Buffers of 64 KiB and more pass through every tunnel, and glibc hands such back to the kernel each time; mimalloc keeps
//! them. It keeps and clears what was used before, though: of the 3 MB that QUIC reserves for what each socket may receive
//! at once, zeroed and hardly ever touched, every page became resident. A mapping is filled in by the kernel as it is
//! touched, and goes back whole.

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

/// Blocks of this size and more have a mapping of their own.
const LARGE: usize = 1 << 20;
/// No system that this runs on has smaller pages; a block that wants more of its address is mimalloc's.
const PAGE: usize = 4096;

/// mimalloc below 1 MiB, the kernel from there on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
// SAFETY: size and alignment of a block say who made it, and the caller gives those that it was made with. mimalloc keeps
// the promises of the trait; for a mapping see `mapped`. Nothing here unwinds or allocates by other ways.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return mapped::map(layout.size());
        }
        // SAFETY: the caller's promises are those that mimalloc asks for.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return mapped::map(layout.size());
        }
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the layout is the one that the block was made with, so it is one of those that are asked.
        unsafe {
            match is_mapped(layout) {
                true => mapped::unmap(block, layout.size()),
                false => MiMalloc.dealloc(block, layout),
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up to the alignment, does not overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: as above. A block that changes sides is copied to a new one before the old one is freed, and where there
        // is no new one, the old one stays, as the trait says.
        unsafe {
            match (is_mapped(layout), is_mapped(new_layout)) {
                (false, false) => MiMalloc.realloc(block, layout, new_size),
                (true, true) => mapped::remap(block, layout.size(), new_size),
                _ => {
                    let new = self.alloc(new_layout);
                    if !new.is_null() {
                        std::ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}

#[inline]
const fn is_mapped(layout: Layout) -> bool {
    cfg!(target_os = "linux") && layout.size() >= LARGE && layout.align() <= PAGE
}

/// Mappings: zeroed, at the start of a page, apart from all others. The kernel rounds their sizes up to whole pages, the
/// same way each time.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the kernel gives and takes memory by address")]
mod mapped {
    use std::ptr;

    use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

    pub(super) fn map(size: usize) -> *mut u8 {
        // SAFETY: the kernel chooses where, so no memory that is in use is touched.
        let mapped = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        mapped.map_or(ptr::null_mut(), <*mut _>::cast)
    }

    /// # Safety
    /// `block` was mapped here with this size, and nobody uses it any more.
    pub(super) unsafe fn unmap(block: *mut u8, size: usize) {
        // SAFETY: promised above. That the kernel refuses, which it does at its bound of mappings, leaves memory unused.
        let _ = unsafe { munmap(block.cast(), size) };
    }

    /// # Safety
    /// As for `unmap`, where this does not return a null pointer.
    pub(super) unsafe fn remap(block: *mut u8, size: usize, new_size: usize) -> *mut u8 {
        // SAFETY: promised above; the kernel moves the pages where they do not fit.
        let moved = unsafe { mremap(block.cast(), size, new_size, MremapFlags::MAYMOVE) };
        moved.map_or(ptr::null_mut(), <*mut _>::cast)
    }
}

/// Elsewhere no block is mapped.
#[cfg(not(target_os = "linux"))]
#[expect(unsafe_code, reason = "the same as where blocks are mapped")]
mod mapped {
    pub(super) fn map(_: usize) -> *mut u8 {
        std::ptr::null_mut()
    }

    /// # Safety
    /// Always.
    pub(super) unsafe fn unmap(_: *mut u8, _: usize) {}

    /// # Safety
    /// Always.
    pub(super) unsafe fn remap(_: *mut u8, _: usize, _: usize) -> *mut u8 {
        std::ptr::null_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    #[test]
    fn a_block_keeps_its_bytes_whichever_side_it_grows_or_shrinks_to() {
        let sizes = [
            1,
            LARGE - 1,
            LARGE,
            LARGE + 1,
            3 * LARGE,
            LARGE,
            LARGE - 1,
            100,
            2 * LARGE,
        ];
        let mut block = Vec::<u8>::new();
        for (round, size) in sizes.into_iter().enumerate() {
            let kept = block.len().min(size);
            block.truncate(kept);
            block.shrink_to(size);
            block.reserve_exact(size - kept);
            let old: Vec<u8> = (0..kept).map(|at| byte(round, at)).collect();
            assert!(block == old, "the first {kept} bytes of {size} are as they were");
            block.clear();
            block.extend((0..size).map(|at| byte(round + 1, at)));
        }
    }

    fn byte(round: usize, at: usize) -> u8 {
        (at.wrapping_mul(31) ^ round) as u8
    }

    #[test]
    fn zeroed_blocks_are_zero_also_where_others_were() {
        for size in [LARGE - 1, LARGE, 4 * LARGE] {
            for _ in 0..8 {
                let mut block = vec![0_u8; size];
                assert!(block.iter().all(|byte| *byte == 0));
                block.fill(7);
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_large_zeroed_block_takes_no_memory_until_it_is_touched() {
        // Memory that was in use before, as at the end of a start.
        let used: Vec<Vec<u8>> = (0..64).map(|_| vec![1; LARGE / 2]).collect();
        drop(std::hint::black_box(used));
        let block = vec![0_u8; 8 * LARGE];
        assert_eq!(resident_pages(&block), 0);
        assert_eq!(block.iter().filter(|byte| **byte != 0).count(), 0);
        assert!(resident_pages(&block) > 0);
    }

    /// Counts the pages of the block that are in memory, by the highest bit of what the kernel says of each.
    #[cfg(target_os = "linux")]
    fn resident_pages(block: &[u8]) -> usize {
        use std::os::unix::fs::FileExt;
        let (first, pages) = (block.as_ptr().addr() / PAGE, block.len() / PAGE);
        let mut map = vec![0; pages * 8];
        let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
        pagemap.read_exact_at(&mut map, first as u64 * 8).unwrap();
        map.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
    }
}
