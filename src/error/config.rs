use std::{error::Error, fmt};

/// What the operator or the programmer got wrong, every fault at once.
///
/// Start-up fails with it; a request never does.
///
/// ```
/// use key0_auth::{domain::Secret, error::ConfigError};
///
/// let read = [Secret::new("ONE_SECRET", "short"), Secret::new("ANOTHER_SECRET", "short, too")];
/// let faults = read.into_iter().filter_map(Result::err).collect();
/// let error = ConfigError::check(faults).expect_err("both are too short");
/// assert_eq!(error.faults().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<ConfigFault>,
}

/// One fault in a configuration. Names the setting, never its value where that is a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// A setting that must be there is not.
    #[error("{name} is required: {why}")]
    Missing {
        /// The setting.
        name: String,
        /// What it is needed for.
        why: String,
    },
    /// A secret shorter than the minimum.
    #[error("{name} is too short: {length} bytes, at least {minimum} are needed")]
    TooShort {
        /// The setting.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The least that is accepted, in bytes.
        minimum: usize,
    },
    /// Two secrets that must differ are equal.
    #[error("{first} and {second} hold the same secret; each must be of its own")]
    SameSecret {
        /// One of the two.
        first: String,
        /// The other.
        second: String,
    },
    /// A key that can't be used.
    #[error("{name} is not a usable key: {reason}")]
    BadKey {
        /// The setting.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that is not one of those the setting takes.
    #[error("{name} is not valid: {reason}")]
    Invalid {
        /// The setting.
        name: String,
        /// What it takes instead.
        reason: String,
    },
}

impl ConfigFault {
    pub(crate) fn missing(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Missing { name: name.into(), why: why.into() }
    }

    pub(crate) fn bad_key(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadKey { name: name.into(), reason: reason.into() }
    }

    pub(crate) fn invalid(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { name: name.into(), reason: reason.into() }
    }
}

impl ConfigError {
    /// The faults, in the order they were found. There is at least one.
    pub fn faults(&self) -> &[ConfigFault] {
        &self.faults
    }

    /// `Ok` with no fault, else an error that holds all of them.
    ///
    /// # Errors
    ///
    /// Fails when there is at least one fault.
    pub fn check(faults: Vec<ConfigFault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self { faults }) }
    }

    /// The faults by value, to be joined with those of another part.
    pub fn into_faults(self) -> Vec<ConfigFault> {
        self.faults
    }
}

impl From<ConfigFault> for ConfigError {
    fn from(fault: ConfigFault) -> Self {
        Self { faults: vec![fault] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}
