use std::{error::Error, fmt};

/// The operating system gave no random bytes, so no secret can be made.
#[derive(Debug, Clone, Copy)]
pub struct RandomError(getrandom::Error);

impl RandomError {
    pub(crate) fn new(cause: getrandom::Error) -> Self {
        Self(cause)
    }
}

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system gave no random bytes")
    }
}

impl Error for RandomError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
