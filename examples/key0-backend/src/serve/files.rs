//! How many connections the process can hold: what its limit on open files leaves.

/// Files that are kept for the stores of keys and of the partner API, some 15 connections at most, and
/// for the log.
const RESERVE: usize = 128;
/// The most connections of the public listener, whatever the limit on files: each takes memory.
const MAX_PUBLIC: usize = 16_384;
/// The most of the internal listener.
const MAX_INTERNAL: usize = 1_024;
/// What is assumed where the system does not tell its limit.
const UNTOLD: usize = 1_024;

/// How many connections each listener may hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) public: usize,
    pub(crate) internal: usize,
}

impl Capacity {
    /// Shares out this many files. The internal listener has its part whatever the public one
    /// takes.
    fn of(files: usize) -> Self {
        let left = files - RESERVE.min(files / 4);
        let internal = (left / 4).clamp(1, MAX_INTERNAL);
        Self { public: left.saturating_sub(internal).clamp(1, MAX_PUBLIC), internal }
    }

    /// Raises the limit on open files as far as the process may, and shares out what that gives.
    pub(crate) fn raise() -> Self {
        Self::of(raise().unwrap_or(UNTOLD))
    }
}

/// The limit on open files, raised to the hard one.
#[cfg(unix)]
fn raise() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let hard = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = match setrlimit(Resource::Nofile, hard) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // Without a limit there are as many as there are numbers.
    Some(files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX)))
}

#[cfg(not(unix))]
fn raise() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_leaves_something_for_all() {
        let of = |files| {
            let Capacity { public, internal } = Capacity::of(files);
            (public, internal)
        };
        assert_eq!(of(256), (144, 48));
        assert_eq!(of(1_024), (672, 224));
        assert_eq!(of(4_096), (2_976, 992));
        assert_eq!(of(1_048_576), (16_384, 1_024));
        assert_eq!(of(usize::MAX), (16_384, 1_024));
        assert_eq!(of(0), (1, 1));
    }
}
