//! Redis for tests.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
};

use super::servers::{
    Watchdog, folder, free_port, hang, kill, program, resume, signal, skip, wait_until,
};

/// Names a server to be used instead of one that is started here, as
/// `redis://user:password@127.0.0.1/0`.
pub const GIVEN: &str = "KEY0_TEST_REDIS_URL";
/// The password of the servers that are started here; it must never be printed.
pub const PASSWORD: &str = "hush-redis";

/// What the documentation says that a user has to be allowed, besides the keys and channels.
pub const RIGHTS: &[&str] = &[
    "+evalsha",
    "+script|load",
    "+get",
    "+set",
    "+del",
    "+exists",
    "+incr",
    "+hget",
    "+hset",
    "+hmget",
    "+hgetall",
    "+hdel",
    "+hincrby",
    "+zadd",
    "+zrem",
    "+zrange",
    "+zscore",
    "+rpush",
    "+ltrim",
    "+lrange",
    "+publish",
    "+subscribe",
];

const MISSING: &str = "redis-server is not installed";

/// A server of its own, for tests that ill-treat it.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    child: Mutex<Option<Child>>,
    _watchdog: Watchdog,
}

/// A place that no other test uses. On a given server it is cleared at the end.
#[derive(Debug)]
pub struct Fresh {
    pub url: String,
    server: String,
    prefix: String,
    clear: bool,
}

impl Fresh {
    /// On the server that all tests of this binary share, as a user with no more rights than are
    /// needed; nothing where there is none to be had.
    pub fn new() -> Option<Self> {
        static SERVER: OnceLock<Option<Redis>> = OnceLock::new();
        let given = std::env::var(GIVEN).ok();
        let clear = given.is_some();
        let server = given.or_else(|| {
            // Nobody asks it for anything after a crash.
            let start = || {
                let server = Redis::start(&["--appendonly", "no"])?;
                server.set_user(&[&["~key0-test-*", "&key0-test-*"], RIGHTS].concat());
                Some(server)
            };
            Some(SERVER.get_or_init(start).as_ref()?.user_url())
        })?;
        let prefix = format!("{}:", unique());
        let joined = if server.contains('?') { '&' } else { '?' };
        Some(Self { url: format!("{server}{joined}prefix={prefix}"), server, prefix, clear })
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.clear {
            let names: Vec<Vec<u8>> = cli(&self.server, &["KEYS", &format!("{}*", self.prefix)]);
            let mut connection =
                redis::Client::open(&*self.server).unwrap().get_connection().unwrap();
            let _: () = redis::cmd("DEL").arg(names).query(&mut connection).unwrap_or_default();
        }
    }
}

/// A text that nobody else uses.
pub fn unique() -> String {
    format!("key0-test-{}", uuid::Uuid::now_v7().simple())
}

impl Redis {
    /// Starts one with these settings, which keeps what it acknowledges; nothing where Redis is
    /// not installed.
    pub fn start(settings: &[&str]) -> Option<Self> {
        Self::prepare(settings, |_| {})
    }

    /// The same, after its folder was filled.
    pub fn prepare(settings: &[&str], fill: impl FnOnce(&Path)) -> Option<Self> {
        let Some(program) = program("redis-server", &[]) else {
            skip(MISSING);
            return None;
        };
        let folder = folder("redis", None);
        let watchdog = Watchdog::over(&folder, &folder.join("pid"));
        fill(&folder);
        let mut server = Self {
            program,
            folder,
            port: 0,
            settings: settings.iter().map(ToString::to_string).collect(),
            child: Mutex::default(),
            _watchdog: watchdog,
        };
        // Another process may take the port first.
        let started = (0..5).any(|_| {
            server.port = free_port();
            server.try_start()
        });
        assert!(started, "Redis did not start:\n{}", server.log());
        Some(server)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of a database, such as `/3?prefix=a:`; nothing for the usual one.
    pub fn url(&self, rest: &str) -> String {
        self.url_through(self.port, rest)
    }

    /// The same by way of a proxy.
    pub fn url_through(&self, port: u16, rest: &str) -> String {
        let rest = if rest.is_empty() { "/0" } else { rest };
        format!("redis://:{PASSWORD}@127.0.0.1:{port}{rest}")
    }

    /// Makes a user, or anew, with these rights.
    pub fn set_user(&self, rights: &[&str]) {
        let () =
            self.cli(&[&["ACL", "SETUSER", "hush-user", "reset", "on", ">hush"], rights].concat());
    }

    /// The URL of that user.
    pub fn user_url(&self) -> String {
        format!("redis://hush-user:hush@127.0.0.1:{}/0", self.port)
    }

    /// What redis-cli would do: sends one command over a connection of its own.
    pub fn cli<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        cli(&self.url(""), command)
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Copies all that another has from now on, until it is told to be a primary.
    pub fn follow(&self, primary: &Self) {
        let () = primary.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
        let () = self.cli(&["CONFIG", "SET", "masterauth", PASSWORD]);
        let () = self.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
        let is_up = || {
            let info: String = self.cli(&["INFO", "replication"]);
            info.contains("master_link_status:up")
        };
        assert!(wait_until(is_up), "it does not follow:\n{}", self.log());
    }

    /// A replica becomes a primary, or a primary the replica of nobody: what it holds stays.
    pub fn lead(&self, leads: bool) {
        let nobody = free_port().to_string();
        let primary = if leads { ["NO", "ONE"] } else { ["127.0.0.1", &nobody] };
        let () = self.cli(&["REPLICAOF", primary[0], primary[1]]);
    }

    /// Stops it in order.
    pub fn stop(&self) {
        let mut child = self.child.lock().unwrap().take().expect("it runs");
        signal(child.id(), "TERM");
        assert!(wait_until(|| child.try_wait().unwrap().is_some()), "it does not stop");
    }

    pub fn kill_9(&self) {
        kill(&mut self.child.lock().unwrap().take().expect("it runs"));
    }

    /// Starts it again, on the same port and data.
    pub fn start_again(&self) {
        assert!(wait_until(|| self.try_start()), "Redis did not start:\n{}", self.log());
    }

    /// It stands still; connections stay open.
    pub fn hang(&self) {
        hang(self.pid());
    }

    pub fn resume(&self) {
        resume(self.pid());
    }

    fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().expect("it runs").id()
    }

    fn try_start(&self) -> bool {
        let mut command = Command::new(&self.program);
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--requirepass", PASSWORD, "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--daemonize", "no"])
            .args(["--logfile", "log", "--pidfile", "pid"])
            .arg("--dir")
            .arg(&self.folder)
            .args(&self.settings)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A group of its own, so that Ctrl-C leaves the end to the watchdog.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().unwrap();
        fs::write(self.folder.join("pid"), child.id().to_string()).unwrap();
        let before = self.log().matches(READY).count();
        let mut ended = false;
        wait_until(|| {
            ended = child.try_wait().unwrap().is_some();
            ended || self.log().matches(READY).count() > before
        });
        if !ended {
            *self.child.lock().unwrap() = Some(child);
        }
        !ended
    }
}

const READY: &str = "Ready to accept connections";

/// Sends one command to the server at this URL.
pub fn cli<T: redis::FromRedisValue>(url: &str, command: &[&str]) -> T {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let (name, arguments) = command.split_first().expect("a command");
    redis::cmd(name).arg(arguments).query(&mut connection).unwrap()
}
