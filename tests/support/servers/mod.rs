//! Servers that tests start, stop, hang, kill and cut off.
//!
//! Each runs in a folder of its own, on a free port of 127.0.0.1. It ends with the test that
//! started it, however that ends: a watchdog waits at the other end of a pipe.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod proxy;

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to start or to end.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether something has come about.
pub const GLANCE: Duration = Duration::from_millis(10);

/// Says that a test has nothing to run on. In CI that is a failure.
pub fn skip(what_is_missing: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what_is_missing}");
    println!("skipped: {what_is_missing}");
}

/// A program, from the search path or one of these folders.
pub fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(folders.iter().cloned());
    places.find_map(|folder| Some(folder.join(name)).filter(|program| program.is_file()))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something holds; `false` when it never does.
pub fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(GLANCE);
    }
    true
}

/// Sends a signal to a process: `STOP`, `CONT`, `INT`, `KILL`.
pub fn signal(pid: u32, signal: &str) {
    let pid = pid.to_string();
    // One that is gone already is no fault.
    let _ = Command::new("kill").args(["-s", signal, &pid]).stderr(Stdio::null()).status();
}

/// A process and all that it has started.
pub fn family(pid: u32) -> BTreeSet<u32> {
    let listed = Command::new("ps").args(["-A", "-o", "pid=", "-o", "ppid="]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let pairs: Vec<(u32, u32)> = listed
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let before = family.len();
        let children = pairs.iter().filter(|(_, parent)| family.contains(parent));
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        family.extend(children);
        if family.len() == before {
            return family;
        }
    }
}

/// Stops a process and all that it has started where they are.
pub fn hang(pid: u32) {
    // The parent first, so that it starts no more; then until there is nobody new.
    let mut stopped = BTreeSet::new();
    loop {
        let family = family(pid);
        if family.is_subset(&stopped) {
            return;
        }
        for pid in family.difference(&stopped) {
            signal(*pid, "STOP");
        }
        stopped.extend(family);
    }
}

/// Lets them go on.
pub fn resume(pid: u32) {
    family(pid).into_iter().for_each(|pid| signal(pid, "CONT"));
}

/// SIGKILL to a process and all that it has started.
pub fn kill(child: &mut Child) {
    for pid in family(child.id()) {
        signal(pid, "KILL");
    }
    child.wait().unwrap();
}

/// Who a server runs as, where it refuses root.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

impl Owner {
    /// One of these users where this is root; else nobody else.
    pub fn instead_of_root(names: &[&str]) -> Option<Self> {
        let id = |arguments: &[&str]| -> Option<u32> {
            let output = Command::new("id").args(arguments).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        if id(&["-u"]) != Some(0) {
            return None;
        }
        let owner = names
            .iter()
            .find_map(|name| Some(Self { user: id(&["-u", name])?, group: id(&["-g", name])? }));
        Some(owner.expect("root has some other user"))
    }

    /// Gives a folder away.
    pub fn take(owner: Option<Self>, folder: &Path) {
        if let Some(Self { user, group }) = owner {
            std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
        }
    }

    /// A command of this user.
    pub fn command(owner: Option<Self>, program: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        // A group of its own, so that Ctrl-C leaves the end to the watchdog.
        command.process_group(0);
        if let Some(Self { user, group }) = owner {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Kills the process whose id stands in a file, and removes the folder, as soon as this process
/// is gone or drops it.
#[derive(Debug)]
pub struct Watchdog {
    child: Child,
    leash: Option<ChildStdin>,
    folder: PathBuf,
}

impl Watchdog {
    pub fn over(folder: &Path, pid_file: &Path) -> Self {
        const SCRIPT: &str = r#"
            cat >/dev/null
            pid=$(head -n 1 "$1" 2>/dev/null)
            if [ -n "$pid" ]; then
                children=$(ps -A -o pid= -o ppid= | while read -r child parent; do
                    [ "$parent" = "$pid" ] && echo "$child"
                done)
                kill -s KILL "$pid" $children 2>/dev/null
            fi
            rm -rf "$2" || { sleep 1; rm -rf "$2"; }
        "#;
        let mut child = Owner::command(None, Path::new("/bin/sh"))
            .args(["-c", SCRIPT, "watchdog"])
            .args([pid_file, folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let leash = child.stdin.take();
        Self { child, leash, folder: folder.to_owned() }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A fresh folder for a server, below the temporary one.
pub fn folder(what: &str, owner: Option<Owner>) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(&format!("key0-{what}-")).tempdir().unwrap();
    Owner::take(owner, folder.path());
    // The watchdog removes it.
    folder.keep()
}
