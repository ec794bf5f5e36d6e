mod queue;

use std::{
    error::Error,
    fmt::{self, Write},
    io::{self, IsTerminal},
    panic::PanicHookInfo,
    time::Duration,
};

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
        .with_ansi(io::stderr().is_terminal() && !no_color())
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

/// Whether colours are unwanted (no-color.org): the variable is there and not empty.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no text");
    let location = panic.location().map(tracing::field::display);
    tracing::error!(location, error = bounded(what), "panicked");
}

/// An error and all its causes on one line. A cause whose text its error shows already is left out.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !shown.contains(&text) {
                write!(shown, ": {text}")?;
            }
            next = cause.source();
        }
        f.write_str(bounded(&shown))
    }
}

/// The beginning of a text.
fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ERROR)).unwrap_or_default()
}
