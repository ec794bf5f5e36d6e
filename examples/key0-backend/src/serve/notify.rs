//! Telling the service manager how far the server is (`sd_notify(3)`): where `NOTIFY_SOCKET` names a
//! socket, it is told. Nobody else need know.

/// The server listens.
pub(crate) const READY: &str = "READY=1";
/// The server drains.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Sends a state, where somebody waits for it. A manager that can't be told is no reason to stop.
#[cfg(unix)]
pub(crate) fn tell(state: &str) {
    use std::os::unix::{ffi::OsStrExt, net::UnixDatagram};

    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = UnixDatagram::unbound().and_then(|socket| match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
            let address = SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(state.as_bytes(), &address)
        }
        _ => socket.send_to(state.as_bytes(), &name),
    });
    if let Err(error) = told {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}

#[cfg(not(unix))]
pub(crate) fn tell(_state: &str) {}
