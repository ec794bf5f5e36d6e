//! PostgreSQL for tests.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    thread,
};

use super::servers::{
    Owner, Watchdog, folder, free_port, hang, kill, program, resume, signal, skip, wait_until,
};

/// Names a server to be used instead of one that is started here, as
/// `postgres://user:password@127.0.0.1/database`. Its user must be allowed to create schemas and
/// databases.
pub const GIVEN: &str = "KEY0_TEST_DATABASE_URL";
/// Stands in the URL and must never be printed. The server asks for none.
pub const PASSWORD: &str = "hush-postgres";

/// A server of its own, for tests that ill-treat it.
#[derive(Debug)]
pub struct Postgres {
    binaries: PathBuf,
    folder: PathBuf,
    owner: Option<Owner>,
    port: u16,
    child: Mutex<Option<Child>>,
    _watchdog: Watchdog,
}

/// A server that the tests of a binary share.
#[derive(Debug)]
pub enum Shared {
    Started(Postgres),
    Given(String),
}

/// The folder of the server's programs.
pub fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    versions.reverse();
    let initdb = fs::canonicalize(program("initdb", &versions)?).ok()?;
    let folder = initdb.parent()?.to_owned();
    folder.join("postgres").is_file().then_some(folder)
}

/// The server that all tests of this binary share; nothing where there is none to be had.
pub fn shared() -> Option<&'static Shared> {
    static SERVER: OnceLock<Option<Shared>> = OnceLock::new();
    let server = SERVER.get_or_init(|| match std::env::var(GIVEN) {
        Ok(url) => Some(Shared::Given(url)),
        Err(_) => Postgres::start().map(Shared::Started),
    });
    if server.is_none() {
        skip(MISSING);
    }
    server.as_ref()
}

const MISSING: &str = "PostgreSQL's initdb and postgres are not installed";

impl Shared {
    pub fn url(&self) -> String {
        match self {
            Self::Started(server) => server.url(),
            Self::Given(url) => url.clone(),
        }
    }

    /// The URL of a new and empty database.
    pub fn new_database(&self) -> String {
        new_database(&self.url())
    }
}

/// A schema that no other test uses. In a given server it is removed at the end.
#[derive(Debug)]
pub struct Schema {
    pub url: String,
    pub name: String,
    remove: bool,
}

impl Schema {
    /// On the shared server.
    pub fn fresh() -> Option<Self> {
        let server = shared()?;
        let remove = matches!(server, Shared::Given(_));
        Some(Self { url: server.url(), name: unique("key0_test"), remove })
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        if self.remove {
            run_sql(&self.url, &format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.name));
        }
    }
}

impl Postgres {
    /// Makes and starts one; nothing where PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            skip(MISSING);
            return None;
        };
        let owner = Owner::instead_of_root(&["postgres", "nobody"]);
        let folder = folder("postgres", owner);
        let data = folder.join("data");
        let watchdog = Watchdog::over(&folder, &data.join("postmaster.pid"));
        // A language whose letters change case as in no other: the store must not care.
        let turkish = ["--locale-provider=icu", "--icu-locale=tr-TR"];
        if !initdb(&binaries, owner, &data, &turkish) {
            let _ = fs::remove_dir_all(&data);
            assert!(initdb(&binaries, owner, &data, &[]), "initdb failed");
        }
        let mut server =
            Self { binaries, folder, owner, port: 0, child: Mutex::default(), _watchdog: watchdog };
        // Another process may take the port first.
        let started = (0..5).any(|_| {
            server.port = free_port();
            server.try_start()
        });
        assert!(started, "PostgreSQL did not start:\n{}", server.log());
        run_sql(&server.url_of("postgres"), "CREATE DATABASE key0");
        Some(server)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn url(&self) -> String {
        self.url_of("key0")
    }

    /// The URL with another user, who needs no password.
    pub fn url_as(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/key0", self.port)
    }

    /// The URL by way of a proxy.
    pub fn url_through(&self, port: u16) -> String {
        format!("postgres://key0:{PASSWORD}@127.0.0.1:{port}/key0")
    }

    /// The URL of a new and empty database.
    pub fn new_database(&self) -> String {
        new_database(&self.url())
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://key0:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Runs it with TLS from the next start on, under a certificate that nobody has signed but
    /// itself. Says where that is; nothing where openssl is not installed.
    pub fn certify(&self) -> Option<PathBuf> {
        let Some(openssl) = super::servers::program("openssl", &[]) else {
            skip("openssl is not installed");
            return None;
        };
        let data = self.folder.join("data");
        let made = Owner::command(self.owner, &openssl)
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=key0 test", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "server.key", "-out", "server.crt"])
            .current_dir(&data)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(data.join("postgresql.auto.conf"), "ssl = on\n").unwrap();
        Some(data.join("server.crt"))
    }

    /// From the next start on it is a standby, or a primary again.
    pub fn stand_by(&self, standby: bool) {
        let signal = self.folder.join("data/standby.signal");
        if standby {
            fs::write(&signal, "").unwrap();
            Owner::take(self.owner, &signal);
        } else {
            fs::remove_file(&signal).unwrap();
        }
    }

    /// Stops it in order: open transactions are undone.
    pub fn stop(&self) {
        let mut child = self.child.lock().unwrap().take().expect("it runs");
        signal(child.id(), "INT");
        assert!(wait_until(|| child.try_wait().unwrap().is_some()), "it does not stop");
    }

    /// Kills it and all its processes.
    pub fn kill_9(&self) {
        kill(&mut self.child.lock().unwrap().take().expect("it runs"));
    }

    /// Starts it again, on the same port and data.
    pub fn start_again(&self) {
        assert!(wait_until(|| self.try_start()), "PostgreSQL did not start:\n{}", self.log());
    }

    /// All its processes stand still; connections stay open.
    pub fn hang(&self) {
        hang(self.pid());
    }

    pub fn resume(&self) {
        resume(self.pid());
    }

    pub fn is_running(&self) -> bool {
        self.child.lock().unwrap().is_some()
    }

    fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().expect("it runs").id()
    }

    fn try_start(&self) -> bool {
        let data = self.folder.join("data");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("the log");
        let port = self.port.to_string();
        let mut child = Owner::command(self.owner, &self.binaries.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port, "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "max_connections=200"])
            .args(["-c", "shared_buffers=32MB", "-c", "fsync=on"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        // The eighth line of the file says so once connections are taken.
        let ready = || {
            let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            lines.next() == Some(&*pid) && lines.nth(6) == Some("ready")
        };
        let mut ended = false;
        wait_until(|| {
            ended = child.try_wait().unwrap().is_some();
            ended || ready()
        });
        if !ended {
            *self.child.lock().unwrap() = Some(child);
        }
        !ended
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            kill(&mut child);
        }
    }
}

fn initdb(binaries: &Path, owner: Option<Owner>, data: &Path, more: &[&str]) -> bool {
    let output = Owner::command(owner, &binaries.join("initdb"))
        .arg("-D")
        .arg(data)
        .args(["-U", "key0", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
        .args(more)
        .current_dir(data.parent().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if !output.status.success() {
        eprintln!("initdb: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// Runs a statement over a connection of its own.
pub fn run_sql(url: &str, sql: &str) {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    // A thread of its own: the caller may be within a runtime.
    let done = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::Connection;
            let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
            let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
            statement.execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    });
    done.join().unwrap();
}

/// A name that nobody else uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

fn new_database(url: &str) -> String {
    let name = unique("key0_test");
    run_sql(url, &format!("CREATE DATABASE {name}"));
    let (server, rest) = url.rsplit_once('/').expect("the URL names a database");
    let options = rest.split_once('?').map(|(_, options)| format!("?{options}"));
    format!("{server}/{name}{}", options.unwrap_or_default())
}

/// What `pg_dump` or another program of the server's prints.
pub fn run_program(name: &str, arguments: &[&str]) -> String {
    let program = binaries().expect("it is installed").join(name);
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
