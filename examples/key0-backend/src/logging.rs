use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal},
};

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Logs to standard error, so that standard output holds what start-up prints and nothing else.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::new(&log.filter);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // Where nobody reads the log any more, saying so would panic in the middle of a request.
        .log_internal_errors(false);
    if log.json {
        builder.json().flatten_event(true).init();
    } else {
        builder.init();
    }
}

/// An error and all its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}
