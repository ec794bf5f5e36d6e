use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Logs to standard error, so that standard output holds what start-up prints and nothing else.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::new(&log.filter);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if log.json {
        builder.json().flatten_event(true).init();
    } else {
        builder.init();
    }
}
