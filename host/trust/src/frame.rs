//! Frames of the pairing and admission protocols: a 2-byte big-endian length, then that many bytes.
//!
//! Pure. Nothing here ever holds more than one frame.

/// Longest payload of a frame, in bytes.
pub const MAX_FRAME: usize = 512;
/// Length of a frame's header, in bytes.
pub const FRAME_HEADER: usize = 2;

/// Why a frame is refused. The stream is of no use after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is zero.
    #[error("a frame is empty")]
    Empty,
    /// The length is above [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} that are allowed")]
    TooLong(usize),
}

/// Reads the header of a frame: how many bytes of payload follow, from 1 to [`MAX_FRAME`].
///
/// # Errors
/// The length is out of bounds.
pub fn frame_length(header: [u8; FRAME_HEADER]) -> Result<usize, FrameError> {
    check_length(usize::from(u16::from_be_bytes(header)))
}

/// Puts the header before a payload.
///
/// # Errors
/// The payload is empty or too long.
pub fn encode_frame(payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = check_length(payload.len())?;
    // MAX_FRAME fits in two bytes, so nothing is cut here.
    let mut frame = (length as u16).to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    Ok(frame)
}

fn check_length(length: usize) -> Result<usize, FrameError> {
    match length {
        0 => Err(FrameError::Empty),
        length if length > MAX_FRAME => Err(FrameError::TooLong(length)),
        length => Ok(length),
    }
}

/// Puts frames together from whatever pieces arrive.
#[derive(Debug, Clone, Default)]
pub struct FrameDecoder {
    held: Vec<u8>,
}

impl FrameDecoder {
    /// Creates a decoder that waits for a header.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input`, up to the end of one frame. Returns how many it took and the
    /// payload, once that is complete; call it again with the rest.
    ///
    /// # Errors
    /// The header is out of bounds; the decoder must not be used after that.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Vec<u8>>), FrameError> {
        let mut taken = 0;
        for byte in input {
            taken += 1;
            self.held.push(*byte);
            let Some((header, payload)) = self.held.split_first_chunk::<FRAME_HEADER>() else {
                continue;
            };
            if payload.len() == frame_length(*header)? {
                let payload = payload.to_vec();
                self.held.clear();
                return Ok((taken, Some(payload)));
            }
        }
        Ok((taken, None))
    }

    /// Returns whether a frame has begun and is not complete: an end of stream now is a cut.
    pub fn is_partial(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Takes fields off the front of a payload. Every method gives none where too little is left.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*array)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Takes one byte of length and that many bytes, at most `max`.
    pub(crate) fn counted(&mut self, max: usize) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        if length > max { None } else { self.bytes(length) }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_empty_and_oversized_frames() {
        assert_eq!(encode_frame(&[]), Err(FrameError::Empty));
        assert_eq!(encode_frame(&[0; 513]), Err(FrameError::TooLong(513)));
        assert_eq!(frame_length([0, 0]), Err(FrameError::Empty));
        assert_eq!(frame_length([2, 1]), Err(FrameError::TooLong(513)));
        assert_eq!(frame_length([2, 0]), Ok(512));
        assert_eq!(
            FrameDecoder::new().feed(&[0xff, 0xff]),
            Err(FrameError::TooLong(65535))
        );
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=512), 0..4), cut in 1..40_usize) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| encode_frame(p).unwrap()).collect();
            let mut decoder = FrameDecoder::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                let mut piece = piece;
                while !piece.is_empty() {
                    let (taken, frame) = decoder.feed(piece).unwrap();
                    piece = &piece[taken..];
                    seen.extend(frame);
                }
            }
            prop_assert!(!decoder.is_partial());
            prop_assert_eq!(seen, payloads);
        }

        #[test]
        fn no_stream_makes_the_decoder_hold_more_than_a_frame(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = FrameDecoder::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let Ok((taken, _)) = decoder.feed(rest) else { break };
                rest = &rest[taken..];
                prop_assert!(decoder.held.len() < FRAME_HEADER + MAX_FRAME);
            }
        }
    }
}
