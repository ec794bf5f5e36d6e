//! A core for the servers and another one for the load.
//!
//! Where both share the cores, a ratio drifts with what the scheduler makes of them, and a server
//! that is slower than the load pays for waking it up with every response, which no server does
//! whose callers are elsewhere. Apart, the load never sleeps, and takes nothing from the server.

use std::io;

#[cfg(target_os = "linux")]
pub struct Cores {
    servers: usize,
    load: usize,
}

#[cfg(target_os = "linux")]
impl Cores {
    /// The first two that this program may run on.
    pub fn two() -> io::Result<Self> {
        use rustix::thread::{CpuSet, sched_getaffinity};
        let allowed = sched_getaffinity(None)?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (allowed.next(), allowed.next()) {
            (Some(load), Some(servers)) => Ok(Self { servers, load }),
            _ => Err(io::Error::other("there is but one core")),
        }
    }

    /// Whatever this thread starts from here on is a server.
    pub fn start_servers(&self) -> io::Result<()> {
        run_on(self.servers)
    }

    /// From here on, this thread makes the load.
    pub fn make_load(&self) -> io::Result<()> {
        run_on(self.load)
    }
}

#[cfg(target_os = "linux")]
fn run_on(core: usize) -> io::Result<()> {
    let mut only = rustix::thread::CpuSet::new();
    only.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &only)?)
}

#[cfg(not(target_os = "linux"))]
pub struct Cores;

#[cfg(not(target_os = "linux"))]
impl Cores {
    pub fn two() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn start_servers(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn make_load(&self) -> io::Result<()> {
        Ok(())
    }
}
