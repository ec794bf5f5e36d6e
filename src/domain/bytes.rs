//! Looks at many bytes at once, and at secret ones in a time that tells nothing of them.

use std::hint::black_box;

use subtle::{Choice, ConstantTimeEq};

/// The same byte in every place of a word.
const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// A text of nothing but visible ASCII, as is each part of it. It may be a credential: tests alone
/// can show and compare it.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Visible<'a>(&'a str);

impl<'a> Visible<'a> {
    pub(crate) fn new(text: &'a str) -> Option<Self> {
        are_visible(text.as_bytes()).then_some(Self(text))
    }

    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Option<Self> {
        // In this order, as it is the faster one.
        if are_visible(bytes) { str::from_utf8(bytes).ok().map(Self) } else { None }
    }

    /// The same, for bytes among which this one must not be.
    pub(crate) fn of_bytes_without(bytes: &'a [u8], unwanted: u8) -> Option<Self> {
        // All are looked at here as well.
        let found = bytes.iter().fold(false, |found, byte| found | (*byte == unwanted));
        if found { None } else { Self::of_bytes(bytes) }
    }

    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    #[inline]
    pub(crate) fn strip_prefix(self, prefix: &str) -> Option<Self> {
        self.0.strip_prefix(prefix).map(Self)
    }

    pub(crate) fn split_at_checked(self, at: usize) -> Option<(Self, Self)> {
        let (before, after) = self.0.split_at_checked(at)?;
        Some((Self(before), Self(after)))
    }
}

/// All are looked at, whichever is the first that is not: so the compiler takes many at once.
fn are_visible(bytes: &[u8]) -> bool {
    let (least, greatest) = bytes
        .iter()
        .fold((b'!', b'~'), |(least, greatest), byte| (least.min(*byte), greatest.max(*byte)));
    (least, greatest) == (b'!', b'~')
}

/// Where this byte stands first. For texts of some ten bytes, where a call would cost more.
#[inline]
pub(crate) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ (ONES * u64::from(wanted));
        // The lowest high bit that is set marks the first byte that does not differ.
        let same = differs.wrapping_sub(ONES) & !differs & HIGHS;
        if same != 0 {
            return Some(8 * n + same.trailing_zeros() as usize / 8);
        }
    }
    Some(8 * words.len() + rest.iter().position(|byte| *byte == wanted)?)
}

/// Whether two secrets are the same, in a time that does not tell where they differ; that their lengths
/// do, it tells. Eight bytes at a time, which takes an eighth of the steps.
#[inline]
pub(crate) fn ct_eq(one: &[u8], other: &[u8]) -> Choice {
    if one.len() != other.len() {
        return Choice::from(0);
    }
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let words = words.iter().zip(other_words);
    let words = words.fold(0, |difference, (one, other)| {
        difference | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other))
    });
    let rest = rest.iter().zip(other_rest);
    let difference =
        rest.fold(words, |difference, (one, other)| difference | u64::from(one ^ other));
    // The compiler is not to know what is asked of it, or it could end early.
    black_box(difference).ct_eq(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_looked_at() {
        for length in 0..40 {
            let mut bytes = vec![b'a'; length];
            assert!(Visible::of_bytes(&bytes).is_some());
            for at in 0..length {
                for byte in 0..=0xff {
                    bytes[at] = byte;
                    let visible = Visible::of_bytes(&bytes).is_some();
                    assert_eq!(visible, byte.is_ascii_graphic(), "{byte:#x} at {at} of {length}");
                }
                bytes[at] = b'a';
            }
        }
        for at in 0..40 {
            let mut bytes = [b'a'; 40];
            bytes[at] = b'\\';
            assert!(Visible::of_bytes_without(&bytes, b'b').is_some());
            assert!(Visible::of_bytes_without(&bytes, b'\\').is_none());
            bytes[at] = b' ';
            assert!(Visible::of_bytes_without(&bytes, b'b').is_none());
        }
        assert_eq!(Visible::new("é"), None);
        assert_eq!(Visible::new("a b"), None);
    }

    #[test]
    fn the_first_one_is_found_wherever_it_stands() {
        for other in [0x00, 0x21, 0x23, 0x22 ^ 0x80, 0xff] {
            for length in 0..40 {
                let mut bytes = vec![other; length];
                assert_eq!(find(&bytes, 0x22), None);
                for at in (0..length).rev() {
                    bytes[at] = 0x22;
                    assert_eq!(find(&bytes, 0x22), Some(at), "{other:#x}, {length}");
                }
            }
        }
    }

    #[test]
    fn secrets_that_differ_in_any_bit_are_not_the_same() {
        let long: [u8; 43] = std::array::from_fn(|n| n as u8);
        for length in 0..long.len() {
            let secret = &long[..length];
            assert!(bool::from(ct_eq(secret, secret)));
            assert!(!bool::from(ct_eq(secret, &long[..=length])));
            for bit in 0..8 * length {
                let mut near = secret.to_vec();
                near[bit / 8] ^= 1 << (bit % 8);
                assert!(!bool::from(ct_eq(secret, &near)), "bit {bit} of {length} bytes");
            }
        }
    }
}
