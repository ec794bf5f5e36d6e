//! A log that no request waits for: a thread of its own writes what is queued.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// The most that waits to be written, in bytes. What is written at the moment comes on top.
const MAX_QUEUED: usize = 1024 * 1024;
/// The pause after each write: under load many lines go out together.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a log waits that takes nothing more at the moment.
const RETRY: Duration = Duration::from_millis(10);

/// Lines on their way to the log. One that finds no room is dropped and counted, and the count is
/// logged once lines are written again. Clones share the queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    /// There is something to write.
    filled: Condvar,
    /// All is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    dropped: u64,
    /// Whether the writer waits for lines.
    waiting: bool,
}

impl LogQueue {
    /// Starts the thread that writes. Without it all lines would be dropped in the end.
    pub(crate) fn write_to(&self, mut log: impl Write + Send + 'static) -> io::Result<()> {
        let queue = self.clone();
        let write = move || {
            let mut batch = Vec::new();
            loop {
                let dropped = queue.take(&mut batch);
                write_whole(&mut log, &batch);
                if dropped > 0 {
                    tracing::warn!(dropped, "log lines were dropped: the log was not read in time");
                }
                thread::sleep(PAUSE);
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(write).map(drop)
    }

    /// Waits until all is written, but not for longer than this.
    pub(crate) fn finish(&self, patience: Duration) {
        let unwritten = |lines: &mut Lines| !lines.waiting || !lines.bytes.is_empty();
        let waited = self.0.emptied.wait_timeout_while(self.lines(), patience, unwritten);
        drop(waited);
    }

    fn push(&self, line: &[u8]) {
        let mut lines = self.lines();
        if lines.bytes.len() + line.len() > MAX_QUEUED {
            lines.dropped += 1;
            return;
        }
        lines.bytes.extend_from_slice(line);
        if lines.waiting {
            self.0.filled.notify_one();
        }
    }

    /// Waits for lines, takes them all, and says how many were dropped before.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.clear();
        let mut lines = self.lines();
        while lines.bytes.is_empty() {
            lines.waiting = true;
            self.0.emptied.notify_all();
            lines = self.0.filled.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        lines.waiting = false;
        std::mem::swap(&mut lines.bytes, batch);
        std::mem::take(&mut lines.dropped)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the log is gone, the lines are gone as well: there is nobody to tell.
fn write_whole(log: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match log.write(bytes) {
            Ok(written @ 1..) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Ok(0) | Err(_) => return,
        }
    }
}

/// Takes one whole line at each write, as the formatter sends them.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
