//! What a case says: at once where it runs alone, in one piece at its end where others run beside it.

use std::cell::RefCell;

/// The lines of one case.
pub(super) enum Transcript {
    /// Goes to the terminal line by line.
    Live,
    /// Is kept until it is taken.
    Kept(RefCell<String>),
}

impl Transcript {
    /// One that is kept.
    pub(super) fn kept() -> Self {
        Self::Kept(RefCell::default())
    }

    /// Says a line.
    pub(super) fn line(&self, text: &str) {
        match self {
            Self::Live => println!("{text}"),
            Self::Kept(kept) => {
                let mut kept = kept.borrow_mut();
                kept.push_str(text);
                kept.push('\n');
            }
        }
    }

    /// Returns what was kept; nothing of what was said at once.
    pub(super) fn take(&self) -> String {
        match self {
            Self::Live => String::new(),
            Self::Kept(kept) => kept.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_once_and_in_order() {
        let transcript = Transcript::kept();
        transcript.line("one");
        transcript.line("two");
        assert_eq!(transcript.take(), "one\ntwo\n");
        assert_eq!(transcript.take(), "");
    }
}
