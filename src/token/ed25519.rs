//! Which encodings of a point are no Ed25519 key to trust.
//!
//! What is no point at all verifies nothing: every token would be refused, and nobody would know why.
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

/// Refuses a point of small order, an encoding that is not canonical, and what is no point of the curve
/// (RFC 8032, section 5.1.3).
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
    } else if !is_on_curve(&y) {
        Err("its Ed25519 point is not on the curve")
    } else {
        Ok(())
    }
}

/// A number modulo the prime: five digits of 51 bits, the lowest first. Nothing here is secret, so the
/// time that it takes may tell what it is.
type Number = [u64; 5];

const BITS: u32 = 51;
const MASK: u64 = (1 << BITS) - 1;
/// The constant d of the curve is -121665/121666.
const MINUS_NUMERATOR: Number = [121_665, 0, 0, 0, 0];
const DENOMINATOR: Number = [121_666, 0, 0, 0, 0];
const ONE: Number = [1, 0, 0, 0, 0];

/// Whether there is an x for this y: whether (y² - 1) / (d y² + 1) is a square. A quotient is one where
/// the product is, and so both can be multiplied by the denominator of d.
fn is_on_curve(y: &[u8; 32]) -> bool {
    let y = number(y);
    let square = product(&y, &y);
    let dividend = product(&DENOMINATOR, &difference(&square, &ONE));
    let divisor = difference(&DENOMINATOR, &product(&MINUS_NUMERATOR, &square));
    let candidate = product(&dividend, &divisor);
    // By Euler: of a square, the power (p - 1) / 2 is one. All 254 bits of that but two are set.
    let power = (0..254).rev().fold(ONE, |power, bit| {
        let power = product(&power, &power);
        if matches!(bit, 0 | 3) { power } else { product(&power, &candidate) }
    });
    // The points with x = 0 are of small order.
    let rest = carried(difference(&power, &ONE).map(u128::from));
    rest == [0; 5] || rest == [MASK - 18, MASK, MASK, MASK, MASK]
}

fn number(bytes: &[u8; 32]) -> Number {
    let mut digits = [0; 5];
    for (at, byte) in (0..).zip(bytes) {
        let bit = 8 * at;
        let (digit, shift) = ((bit / BITS) as usize, bit % BITS);
        digits[digit] |= u64::from(*byte) << shift & MASK;
        if shift > BITS - 8 && digit < 4 {
            digits[digit + 1] |= u64::from(*byte) >> (BITS - shift);
        }
    }
    digits
}

fn product(one: &Number, other: &Number) -> Number {
    let mut digits = [0; 5];
    for (i, a) in one.iter().enumerate() {
        for (j, b) in other.iter().enumerate() {
            // Beyond the fifth digit: 2^255 is 19.
            let times = if i + j < 5 { 1 } else { 19 };
            digits[(i + j) % 5] += u128::from(*a) * u128::from(*b) * times;
        }
    }
    carried(digits)
}

fn difference(one: &Number, other: &Number) -> Number {
    // Twice the prime comes on top, so that no digit is less than nothing.
    let digit = |at: usize| one[at] + 2 * (if at == 0 { MASK - 18 } else { MASK }) - other[at];
    carried([0, 1, 2, 3, 4].map(digit).map(u128::from))
}

/// The same number, no digit of which has more than its bits.
fn carried(mut digits: [u128; 5]) -> Number {
    for _ in 0..3 {
        let mut carry = 0;
        for digit in &mut digits {
            *digit += carry;
            carry = *digit >> BITS;
            *digit &= u128::from(MASK);
        }
        digits[0] += 19 * carry;
    }
    digits.map(|digit| digit as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the arithmetic of another language.
    #[test]
    fn half_of_all_numbers_are_points() {
        let on_curve = [
            3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30, 32, 33, 35,
            37, 39,
        ];
        for y in 2..40 {
            assert_eq!(check(&with_ends(y, 0, 0)).is_ok(), on_curve.contains(&y), "{y}");
        }
    }

    /// Those of RFC 8032, section 7.1.
    #[test]
    fn every_key_is_a_point() {
        for key in [
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        ] {
            let point: Vec<_> = (0..64)
                .step_by(2)
                .map(|at| u8::from_str_radix(&key[at..at + 2], 16).expect("hexadecimal"))
                .collect();
            assert_eq!(check(&point), Ok(()), "{key}");
        }
    }
}
