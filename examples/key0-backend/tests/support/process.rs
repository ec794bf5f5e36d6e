//! Runs the sample backend, or an example, as a process, and talks to it over sockets of its own.
#![allow(dead_code, unused_imports)]

#[path = "../../../../tests/support/http.rs"]
mod raw;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use key0_auth::domain::Secret;
use tempfile::TempDir;

pub(crate) use self::raw::{Answer, Request, connect, read_answer};

/// Stands in every secret of these tests and must never be printed.
pub(crate) const MARK: &str = "hush";
pub(crate) const TOKEN_SECRET: &str = "hush: the access token secret of these tests";
pub(crate) const INTERNAL_SECRET: &str = "hush: the internal auth secret of these tests";

/// The file in the folder that standard input comes from, where it is there.
pub(crate) const INPUT: &str = "input";
/// How long the process may take to start, or to end by itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether something has come about.
const GLANCE: Duration = Duration::from_millis(10);

/// What the process is started with: a folder of its own, these variables and no others.
#[derive(Clone)]
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    /// Where it runs, unless that is the folder.
    working_in: Option<PathBuf>,
    variables: BTreeMap<String, OsString>,
    arguments: Vec<String>,
    program: PathBuf,
    /// The soft and the hard limit on open files.
    files: Option<(u32, u32)>,
}

impl Setup {
    /// Two good secrets and a free port.
    pub(crate) fn new() -> Self {
        Self::bare()
            .set("KEY0_ACCESS_TOKEN_SECRET", TOKEN_SECRET)
            .set("INTERNAL_AUTH_SECRET", INTERNAL_SECRET)
    }

    /// A free port, and no secrets.
    pub(crate) fn bare() -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let program = PathBuf::from(env!("CARGO_BIN_EXE_key0-backend"));
        let (variables, arguments) = (BTreeMap::new(), Vec::new());
        let setup = Self { folder, working_in: None, variables, arguments, program, files: None };
        setup.set("PORT", "0")
    }

    /// An example of this crate, with no secrets and a free port. Nothing where it was not built,
    /// as when one test is run alone; in CI that is a failure.
    pub(crate) fn example(name: &str) -> Option<Self> {
        let tests = std::env::current_exe().unwrap();
        let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        let program = tests.parent().unwrap().with_file_name("examples").join(&name);
        if !program.exists() {
            assert!(std::env::var_os("CI").is_none(), "the example {name} was not built");
            println!("skipped: the example {name} was not built (cargo build --examples)");
            return None;
        }
        Some(Self { program, ..Self::bare() })
    }

    /// The same, in a folder of its own.
    pub(crate) fn elsewhere(mut self) -> Self {
        self.folder = Arc::new(TempDir::new().unwrap());
        self
    }

    /// The same, run elsewhere than in its folder.
    pub(crate) fn working_in(mut self, folder: &str) -> Self {
        self.working_in = Some(folder.into());
        self
    }

    pub(crate) fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Limits the files that the process may open.
    pub(crate) fn files_at_most(mut self, soft: u32, hard: u32) -> Self {
        self.files = Some((soft, hard));
        self
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Puts a file into the folder.
    pub(crate) fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), contents).unwrap();
        self
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the database is, unless `DATABASE_URL` says otherwise.
    pub(crate) fn database(&self) -> PathBuf {
        self.path("key0-backend.db")
    }

    /// The names of all files in the folder, in order.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn spawn(&self, subcommand: Option<&str>) -> Child {
        self.spawn_onto(subcommand, Stdio::piped())
    }

    fn spawn_onto(&self, subcommand: Option<&str>, stdout: Stdio) -> Child {
        let mut command = match self.files {
            None => Command::new(&self.program),
            Some((soft, hard)) => {
                let script = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$0\" \"$@\"");
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(script).arg(&self.program);
                shell
            }
        };
        command
            .args(subcommand)
            .args(&self.arguments)
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.working_in.as_deref().unwrap_or(self.folder.path()))
            .stdin(fs::File::open(self.path(INPUT)).map_or_else(|_| Stdio::null(), Stdio::from))
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts `serve` with a standard output that takes no byte and that nobody reads, and waits until
    /// it has logged that it listens.
    #[cfg(unix)]
    pub(crate) fn start_unheard(&self) -> (Backend, std::io::PipeReader) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        let chunk = [b'.'; 4 * 1024];
        while writer.write(&chunk).is_ok() || writer.write(&chunk[..1]).is_ok() {}
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).unwrap();
        let setup = self.clone().set("LOG_FORMAT", "json");
        let child = setup.spawn_onto(Some("serve"), writer.into());
        let mut backend = Backend::watch(child, &self.folder, false);
        backend.wait_for_log("\"started\"", 1);
        let log = backend.stderr();
        let (_, address) = log.split_once("\"public\":\"http://").unwrap();
        backend.public = address.split_once('"').unwrap().0.parse().unwrap();
        (backend, reader)
    }

    /// Starts `serve` and waits until it listens.
    pub(crate) fn start(&self) -> Backend {
        // The line that comes last of those with the addresses.
        self.start_by(Some("serve"), "\nstore ")
    }

    /// Starts `serve` with a log that nobody reads before [`Backend::read_log`].
    pub(crate) fn start_unread(&self) -> Backend {
        self.wait_for(Backend::watch(self.spawn(Some("serve")), &self.folder, true), "\nstore ")
    }

    /// Starts `serve`, does something, and then waits until it listens.
    pub(crate) fn start_meanwhile(&self, act: impl FnOnce(&Backend)) -> Backend {
        let backend = Backend::watch(self.spawn(Some("serve")), &self.folder, false);
        act(&backend);
        self.wait_for(backend, "\nstore ")
    }

    /// Starts an example and waits until it has said this.
    pub(crate) fn start_example(&self, ready: &str) -> Backend {
        self.start_by(None, ready)
    }

    /// Starts `serve` by a script of a shell, whose `$0` is the program and whose `$@` is `serve`.
    pub(crate) fn start_by_shell(&self, script: &str) -> Backend {
        self.by_shell(script).start_by(Some("-c"), "\nstore ")
    }

    /// Runs `serve` to its end by such a script.
    pub(crate) fn run_by_shell(&self, script: &str) -> Ended {
        self.by_shell(script).run("-c")
    }

    fn by_shell(&self, script: &str) -> Self {
        let mut setup = self.clone();
        let program = self.program.to_str().unwrap().to_owned();
        setup.arguments = vec![script.to_owned(), program, "serve".to_owned()];
        setup.program = "/bin/sh".into();
        setup
    }

    fn start_by(&self, subcommand: Option<&str>, ready: &str) -> Backend {
        self.wait_for(Backend::watch(self.spawn(subcommand), &self.folder, false), ready)
    }

    fn wait_for(&self, mut backend: Backend, ready: &str) -> Backend {
        let deadline = Instant::now() + PATIENCE;
        while !(backend.stdout().contains(ready) && backend.stdout().ends_with('\n')) {
            let ended = backend.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the backend does not listen, {ended:?}:\n{}",
                backend.stderr()
            );
            thread::sleep(GLANCE);
        }
        let stdout = backend.stdout();
        let address = |label: &str| -> Option<SocketAddr> {
            let url = stdout.lines().find_map(|line| line.strip_prefix(label))?.trim();
            Some(url.strip_prefix("http://").unwrap().parse().unwrap())
        };
        backend.public = address("listening on").unwrap();
        backend.internal = address("internal on");
        backend
    }

    /// Runs `subcommand` to its end.
    pub(crate) fn run(&self, subcommand: &str) -> Ended {
        self.run_by(Some(subcommand))
    }

    /// Runs an example to its end.
    pub(crate) fn run_example(&self) -> Ended {
        self.run_by(None)
    }

    fn run_by(&self, subcommand: Option<&str>) -> Ended {
        let mut backend = Backend::watch(self.spawn(subcommand), &self.folder, false);
        backend.wait();
        backend.end()
    }
}

/// A running backend. It is killed when this is dropped.
pub(crate) struct Backend {
    child: Child,
    stdout: Collected,
    stderr: Collected,
    /// Removed with the last of those who work in it.
    _folder: Arc<TempDir>,
    pub(crate) public: SocketAddr,
    pub(crate) internal: Option<SocketAddr>,
}

impl Backend {
    fn watch(mut child: Child, folder: &Arc<TempDir>, unread: bool) -> Self {
        let stdout: Option<ChildStdout> = child.stdout.take();
        let stderr: ChildStderr = child.stderr.take().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            child,
            stdout: match stdout {
                Some(stdout) => Collected::from(stdout, false),
                None => Collected::from(std::io::empty(), false),
            },
            stderr: Collected::from(stderr, unread),
            _folder: Arc::clone(folder),
            public: nowhere,
            internal: None,
        }
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has logged so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Begins to read a log that was left unread.
    pub(crate) fn read_log(&mut self) {
        self.stderr.begin = None;
    }

    /// Waits until a text stands so often in the log.
    pub(crate) fn wait_for_log(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.stderr().matches(text).count() < times {
            assert!(Instant::now() < deadline, "{text:?} is not logged {times} times");
            thread::sleep(GLANCE);
        }
    }

    /// SIGKILL, and the end of it.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// A signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running:\n{}", self.stderr());
            thread::sleep(GLANCE);
        }
    }

    /// What is left of it. No secret is in what it has printed.
    pub(crate) fn end(mut self) -> Ended {
        self.read_log();
        let code = self.child.wait().unwrap().code();
        let ended = Ended { code, stdout: self.stdout.whole(), stderr: self.stderr.whole() };
        for output in [&ended.stdout, &ended.stderr] {
            assert!(!output.contains(MARK), "a secret is shown:\n{output}");
        }
        ended
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the backend's log:\n{}", self.stderr());
        }
    }
}

/// A backend that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Nothing after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What comes out of a pipe, read by a thread until its end.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// Keeps the reader from beginning.
    begin: Option<mpsc::Sender<()>>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static, unread: bool) -> Self {
        let (begin, began) = mpsc::channel();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 64 * 1024];
            let _ = began.recv();
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                sink.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { bytes, reader: Some(reader), begin: unread.then_some(begin) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

pub(crate) fn token_secret() -> Secret {
    Secret::new("the tests' access token secret", TOKEN_SECRET).unwrap()
}
