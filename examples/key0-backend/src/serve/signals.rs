//! The signals that end the server, and the one that has its configuration read again.

use std::{io, time::Duration};

use tokio::sync::watch;

use super::{notify, ready::Ready};

/// The exit code of a second signal to stop, as shells give it for an interrupted program.
const INTERRUPTED: i32 = 130;

/// Becomes true when the server is to take no more connections: at SIGTERM or Ctrl-C, or so long
/// after it, while which `/ready` says so. A second signal ends the process at once. `reload` is
/// called at each SIGHUP.
pub(crate) fn listen(
    ready: Ready,
    delay: Duration,
    hang_ups: HangUps,
    reload: impl Fn() + Send + 'static,
) -> io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut ends = Ends::listen()?;
    hang_ups.each(reload);
    tokio::spawn(async move {
        ends.next().await;
        tracing::info!(
            delay_seconds = delay.as_secs(),
            "stopping: no new connections after the delay, then open requests are waited for"
        );
        ready.stop();
        notify::tell(notify::STOPPING);
        let stop = async move {
            tokio::time::sleep(delay).await;
            let _ = sender.send(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop => {}
            () = ends.next() => {}
        }
        tracing::warn!("a second signal: ending at once");
        std::process::exit(INTERRUPTED);
    });
    Ok(receiver)
}

#[cfg(unix)]
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Ends {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Each SIGHUP. From the moment on that there is one of these, none ends the process: one that comes
/// while the server starts is as good as one that comes then.
#[cfg(unix)]
pub(crate) struct HangUps(tokio::signal::unix::Signal);

#[cfg(unix)]
impl HangUps {
    /// Must be called within a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    fn each(mut self, reload: impl Fn() + Send + 'static) {
        tokio::spawn(async move {
            while self.0.recv().await.is_some() {
                reload();
            }
        });
    }
}

#[cfg(not(unix))]
struct Ends;

#[cfg(not(unix))]
impl Ends {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(not(unix))]
pub(crate) struct HangUps;

#[cfg(not(unix))]
impl HangUps {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    fn each(self, _reload: impl Fn() + Send + 'static) {}
}
