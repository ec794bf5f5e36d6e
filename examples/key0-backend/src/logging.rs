mod queue;

use std::{
    error::Error,
    ffi::OsString,
    fmt,
    io::{self, IsTerminal},
    panic::PanicHookInfo,
    time::Duration,
};

use key0_auth::error::chain;
use tracing_subscriber::EnvFilter;

use self::queue::LogQueue;
use crate::config::Log;

/// How long the end of the process waits for the log to be written.
const LAST_LINES: Duration = Duration::from_millis(500);
/// The most of an error that is logged, in bytes.
const MAX_ERROR: usize = 2 * 1024;

/// The log of the running process. What is queued is written when this is dropped, within bounds.
#[derive(Debug)]
pub(crate) struct Logging(LogQueue);

/// Logs to standard error, so that standard output holds what start-up prints and nothing else.
pub(crate) fn start(log: &Log) -> io::Result<Logging> {
    let queue = LogQueue::default();
    queue.write_to(io::stderr())?;
    // The line of each request tells of its refusal, too.
    let filter = EnvFilter::new(format!("key0_auth::refusal=off,{}", log.filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone())
        .with_ansi(has_colours(io::stderr().is_terminal(), std::env::var_os("NO_COLOR")))
        .log_internal_errors(false);
    if log.json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        builder.init();
    }
    // Whoever panics must not wait for a reader of the log either.
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logging(queue))
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.finish(LAST_LINES);
    }
}

/// Colours are for terminals, and unwanted where `NO_COLOR` is there and not empty (no-color.org).
fn has_colours(is_terminal: bool, no_color: Option<OsString>) -> bool {
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no text");
    let location = panic.location().map(tracing::field::display);
    tracing::error!(location, error = bounded(what), "panicked");
}

/// An error and its causes, as far as the log can bear.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(bounded(&chain(self.0)))
    }
}

/// The beginning of a text.
fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ERROR)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        for (is_terminal, no_color, colours) in [
            (true, None, true),
            (true, Some(""), true),
            (true, Some("1"), false),
            (true, Some("0"), false),
            (false, None, false),
        ] {
            let told = has_colours(is_terminal, no_color.map(OsString::from));
            assert_eq!(told, colours, "{is_terminal} {no_color:?}");
        }
    }
}
