//! Which encodings of a point are no Ed25519 key to trust.
//!
//! Verifiers take any point. A point of small order makes a signature that holds for many messages,
//! and so anybody can forge; an encoding that is not canonical is a second spelling of another key.

/// The y coordinates of all points whose order divides eight (RFC 7748, section 5, gives the field):
/// 0, 1, -1 and the two of order eight, in little-endian bytes.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    with_ends(0x01, 0x00, 0x00),
    with_ends(0xec, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];
/// The field's prime, 2^255 - 19.
const PRIME: [u8; 32] = with_ends(0xed, 0xff, 0x7f);

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Refuses a point of small order, and an encoding that is not canonical (RFC 8032, section 5.1.3).
pub(super) fn check(point: &[u8]) -> Result<(), &'static str> {
    let Ok(mut y) = <[u8; 32]>::try_from(point) else {
        return Err("an Ed25519 key has 32 bytes");
    };
    // The highest bit is the sign of x.
    y[31] &= 0x7f;
    if y.iter().rev().ge(PRIME.iter().rev()) {
        Err("its Ed25519 point is not encoded canonically")
    } else if SMALL_ORDER.contains(&y) {
        Err("its Ed25519 point is of small order: anybody could sign for it")
    } else {
        Ok(())
    }
}
