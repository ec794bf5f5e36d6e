use std::{error::Error, fmt, sync::Arc};

/// A store that could not answer, or not in time.
///
/// It says nothing about the credential that was looked up: a store error becomes a 503, never a
/// refusal and never a pass.
///
/// A clone shares the cause: one failed read can be the answer to many requests.
///
/// ```
/// use key0_auth::error::{StoreError, StoreErrorKind};
///
/// let error = StoreError::unavailable("the cable is cut");
/// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
/// ```
#[derive(Debug, Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The kinds of store failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store can't be reached or refuses to work.
    Unavailable,
    /// The store did not answer within its deadline.
    TimedOut,
    /// What the store holds can't be understood.
    Corrupt,
    /// The store holds something that what was to be added can't stand next to.
    Conflict,
}

impl StoreError {
    /// A failure of this kind without a cause of its own.
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// The store can't be reached or refuses to work, because of `cause`.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: StoreErrorKind::Unavailable, source: Some(cause.into().into()) }
    }

    /// What the store holds can't be understood, because of `cause`.
    pub fn corrupt(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: StoreErrorKind::Corrupt, source: Some(cause.into().into()) }
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl StoreErrorKind {
    /// Its name in metrics: `unavailable`, `timed_out`, `corrupt` or `conflict`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Corrupt => "corrupt",
            Self::Conflict => "conflict",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::TimedOut => "the store did not answer in time",
            StoreErrorKind::Corrupt => "the store holds something that can't be understood",
            StoreErrorKind::Conflict => "the store holds this already",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
