use std::fmt;

use super::bytes::Visible;

/// The longest credential that is looked at, in bytes: 8 KiB.
pub const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

/// What an agent or a partner presents: visible ASCII, 1 to [`MAX_CREDENTIAL_BYTES`] bytes.
///
/// It borrows from the request and shows nothing of itself in `Debug`.
///
/// ```
/// use key0_auth::domain::Credential;
///
/// let credential = Credential::try_from("ak_0123")?;
/// assert_eq!(credential.expose(), "ak_0123");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Credential<'a>(&'a str);

/// Why some bytes are not a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialFault {
    #[error("the credential is empty")]
    Empty,
    #[error("the credential holds bytes outside visible ascii")]
    IllegalBytes,
    #[error("the credential is longer than 8 KiB")]
    TooLong,
}

impl<'a> Credential<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, CredentialFault> {
        check_length(bytes.len())?;
        let text = Visible::of_bytes(bytes).ok_or(CredentialFault::IllegalBytes)?;
        Ok(Self(text.as_str()))
    }

    /// The credential itself. Every call of this is a place to look at in a review.
    pub fn expose(&self) -> &'a str {
        self.0
    }
}

fn check_length(bytes: usize) -> Result<(), CredentialFault> {
    match bytes {
        0 => Err(CredentialFault::Empty),
        1..=MAX_CREDENTIAL_BYTES => Ok(()),
        _ => Err(CredentialFault::TooLong),
    }
}

impl<'a> TryFrom<&'a str> for Credential<'a> {
    type Error = crate::Rejection;

    /// Reads a bare credential, without a scheme before it.
    fn try_from(text: &'a str) -> Result<Self, crate::Rejection> {
        check_length(text.len())?;
        let text = Visible::new(text).ok_or(CredentialFault::IllegalBytes)?;
        Ok(Self(text.as_str()))
    }
}

impl From<CredentialFault> for crate::Rejection {
    fn from(fault: CredentialFault) -> Self {
        use crate::RejectionKind;
        match fault {
            CredentialFault::Empty => RejectionKind::MissingCredential.into(),
            CredentialFault::IllegalBytes => RejectionKind::MalformedCredential.into(),
            CredentialFault::TooLong => {
                Self::new(RejectionKind::InvalidToken).detail("The access token is too long")
            }
        }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_bytes() {
        assert_eq!(Credential::parse(b"").err(), Some(CredentialFault::Empty));
        assert!(Credential::parse(&[b'a'; MAX_CREDENTIAL_BYTES]).is_ok());
        let long = [b'a'; MAX_CREDENTIAL_BYTES + 1];
        assert_eq!(Credential::parse(&long).err(), Some(CredentialFault::TooLong));
        for bytes in [&b"a b"[..], b"a\tb", b"a\x7f", "é".as_bytes(), b"\xff", b"a\0"] {
            assert_eq!(Credential::parse(bytes).err(), Some(CredentialFault::IllegalBytes));
        }
        assert_eq!(format!("{:?}", Credential::parse(b"ak_secret").expect("ok")), "Credential(..)");
    }
}
