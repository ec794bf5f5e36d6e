//! A shop that is open all day: sales and calls, while its operator rotates the secrets, takes
//! keys over, makes a backup and restarts the database.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Line, MASTER, access_token, call, issue},
    figures::Times,
    postgres_server::{Postgres, run_program},
    process::{Backend, INTERNAL_SECRET, Request, Setup, TOKEN_SECRET},
    servers::wait_until,
};

/// How many seconds it lasts, unless `KEY0_SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 40;
/// How many keys are taken over for each second that it lasts; 100,000 in ten minutes.
const KEYS_A_SECOND: u64 = 167;
const NEW_TOKEN_SECRET: &str = "hush: the next access token secret of these tests";
const NEW_INTERNAL_SECRET: &str = "hush: the next internal auth secret of these tests";
/// How long a client waits before it asks once more.
const PAUSE: Duration = Duration::from_millis(2);

/// What was seen, in order.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Duration,
    took: Duration,
    status: u16,
}

/// The server's memory at a time.
type Memory = (Duration, u64);

struct Soak {
    began: Instant,
    length: Duration,
    seen: Mutex<Vec<Seen>>,
    memory: Mutex<Vec<Memory>>,
    /// What the operator did, and when.
    done: Mutex<Vec<(Duration, &'static str)>>,
    over: AtomicBool,
    sales: AtomicU64,
}

pub(crate) fn a_day(server: &Postgres) {
    let seconds = std::env::var("KEY0_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let length = Duration::from_secs(seconds.unwrap_or(SECONDS).max(20));
    let setup = Setup::bare()
        .set("DATABASE_URL", server.url())
        .set("MASTER_API_KEYS", MASTER)
        .set("ACCESS_LOG", "off");
    let setup = secrets(setup, (TOKEN_SECRET, INTERNAL_SECRET), None);
    let backend = setup.start();
    let soak = Soak {
        began: Instant::now(),
        length,
        seen: Mutex::default(),
        memory: Mutex::default(),
        done: Mutex::default(),
        over: AtomicBool::new(false),
        sales: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        for client in 0..3 {
            let (soak, backend) = (&soak, &backend);
            scope.spawn(move || soak.trade(backend, client));
        }
        scope.spawn(|| soak.watch(&backend));
        soak.operate(&setup, &backend, server);
        soak.until(1, 1);
        soak.over.store(true, Ordering::Relaxed);
    });
    soak.judge(server);
}

/// The secrets as lines of a file, which a `SIGHUP` reads again.
fn secrets(setup: Setup, now: (&str, &str), before: Option<(&str, &str)>) -> Setup {
    let mut lines = format!("KEY0_ACCESS_TOKEN_SECRET={}\nINTERNAL_AUTH_SECRET={}\n", now.0, now.1);
    if let Some((token, internal)) = before {
        let _ = write!(
            lines,
            "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS={token}\nINTERNAL_AUTH_PREVIOUS_SECRETS={internal}\n"
        );
    }
    setup.file(".env", lines)
}

impl Soak {
    fn until(&self, part: u32, of: u32) {
        let end = self.length * part / of;
        thread::sleep(end.saturating_sub(self.began.elapsed()));
    }

    fn note(&self, what: &'static str) {
        self.done.lock().unwrap().push((self.began.elapsed(), what));
    }

    fn operate(&self, setup: &Setup, backend: &Backend, server: &Postgres) {
        self.until(1, 6);
        let before = Some((TOKEN_SECRET, INTERNAL_SECRET));
        drop(secrets(setup.clone(), (NEW_TOKEN_SECRET, NEW_INTERNAL_SECRET), before));
        self.note("rotation");
        backend.signal("HUP");
        let rotated = Request::post("/internal/issue-token", &serde_json::json!({}))
            .internal(NEW_INTERNAL_SECRET);
        let mut line = Line::open(backend.public);
        // It knows the new secret, and has nothing to say of an order that is none.
        assert!(wait_until(|| line.send(&rotated).status == 400), "no rotation");

        self.until(2, 6);
        let keys = self.length.as_secs() * KEYS_A_SECOND;
        let lines: String =
            (0..keys).map(|n| format!("{{\"key\":\"ak_{n:032x}\",\"role\":\"read\"}}\n")).collect();
        let setup = setup.clone().file("import", lines);
        self.note("import");
        let imported = setup.clone().argument("import").argument("import").run("keys");
        assert_eq!(imported.code, Some(0), "{}", imported.stderr);
        self.note("imported");

        self.until(3, 6);
        self.note("backup");
        let file = setup.path("backup.sql");
        let url = server.url();
        run_program("pg_dump", &["--schema=key0", "--file", file.to_str().unwrap(), &url]);
        let backup = fs::metadata(&file).unwrap().len();
        assert!(backup > keys * 100, "{backup} bytes");

        self.until(4, 6);
        self.note("restart");
        server.stop();
        server.start_again();
        self.note("back");
    }

    /// Sells and calls, over one connection.
    fn trade(&self, backend: &Backend, client: u64) {
        let mut line = Line::open(backend.public);
        let tokens: Vec<_> = (0..8).map(|n| access_token(1_000_000 + n)).collect();
        let mut held: Vec<(u64, String)> = Vec::new();
        for turn in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let number = client * 10_000_000 + turn;
            if turn % 4 == 0 {
                // Key0 asks again until it has an answer: no sale may be lost.
                let token = loop {
                    let answer = self.send(&mut line, &issue(number));
                    match answer.status {
                        200 => break answer.member("token"),
                        _ => assert_eq!(answer.status, 503, "{answer:?}"),
                    }
                    thread::sleep(PAUSE);
                };
                held.push((number, token));
                self.sales.fetch_add(1, Ordering::Relaxed);
                if held.len() > 2_000 {
                    held.remove(0);
                }
            }
            // Mostly keys that were not seen for a while, so that the store is asked.
            let place = (turn as usize).wrapping_mul(7_919) % held.len();
            let (number, key) = &held[place];
            self.send(&mut line, &call(*number, key));
            let number = 1_000_000 + turn % 8;
            self.send(&mut line, &call(number, &tokens[(turn % 8) as usize]));
            thread::sleep(PAUSE);
        }
        // Whatever was sold is good to the end.
        for (number, key) in held.iter().step_by(50) {
            assert_eq!(line.send(&call(*number, key)).status, 200, "photo {number}");
        }
    }

    fn send(&self, line: &mut Line, request: &Request) -> crate::process::Answer {
        let sent = self.began.elapsed();
        let answer = line.send_once(request);
        let took = self.began.elapsed() - sent;
        self.seen.lock().unwrap().push(Seen { at: sent, took, status: answer.status });
        answer
    }

    fn watch(&self, backend: &Backend) {
        while !self.over.load(Ordering::Relaxed) {
            let memory = resident(backend.id());
            self.memory.lock().unwrap().push((self.began.elapsed(), memory));
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn judge(self, server: &Postgres) {
        let Self { length, seen, memory, done, sales, .. } = self;
        let (seen, memory) = (seen.into_inner().unwrap(), memory.into_inner().unwrap());
        let (done, sales) = (done.into_inner().unwrap(), sales.into_inner());
        let count = |status| seen.iter().filter(|seen| seen.status == status).count();
        let (good, outage) = (count(200), count(503));
        assert_eq!(good + outage, seen.len(), "some got another answer");
        let at = |what| done.iter().find(|(_, name)| *name == what).map(|(at, _)| *at).unwrap();
        let restart = at("restart");
        let early = seen.iter().filter(|seen| seen.status == 503 && seen.at < restart).count();
        let issued = crate::engine::Engine::counts(server).0;
        assert_eq!(issued, sales, "a sale is lost, or was made twice");
        println!(
            "{} s: {} requests, {good} good, {outage} times 503 ({early} before the restart), no 401, \
             {sales} sales, each kept once",
            length.as_secs(),
            seen.len(),
        );
        for (at, what) in &done {
            println!("{:>6.1} s  {what}", at.as_secs_f64());
        }
        let window = length / 20;
        println!(
            "{:>8} {:>9} {:>12} {:>10} {:>6}",
            "from s", "requests", "99 % in ms", "MB", "503"
        );
        let mut lines = Vec::new();
        for part in 0..20 {
            let (from, to) = (window * part, window * (part + 1));
            let those: Vec<_> =
                seen.iter().filter(|seen| seen.at >= from && seen.at < to).copied().collect();
            if those.is_empty() {
                continue;
            }
            let p99 = Times::new(those.iter().map(|seen| seen.took).collect()).percentile(99);
            let megabytes =
                memory.iter().filter(|(at, _)| *at < to).map(|(_, bytes)| *bytes).next_back();
            let megabytes = megabytes.unwrap_or_default() as f64 / 1e6;
            let outage = those.iter().filter(|seen| seen.status == 503).count();
            let p99 = p99.as_secs_f64() * 1e3;
            println!(
                "{:>8.1} {:>9} {p99:>12.1} {megabytes:>10.1} {outage:>6}",
                from.as_secs_f64(),
                those.len()
            );
            lines.push((from.as_secs_f64(), p99, megabytes));
        }
        if let Some(file) = std::env::var_os("KEY0_SOAK_PLOT") {
            plot(Path::new(&file), length.as_secs_f64(), &lines, &done);
        }
    }
}

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// Both lines over time, each on a scale of its own, with what the operator did.
fn plot(file: &Path, seconds: f64, lines: &[(f64, f64, f64)], done: &[(Duration, &'static str)]) {
    const WIDTH: f64 = 800.0;
    const HEIGHT: f64 = 300.0;
    let x = |at: f64| 60.0 + at / seconds * WIDTH;
    let most = |of: fn(&(f64, f64, f64)) -> f64| lines.iter().map(of).fold(1e-9, f64::max);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 920 360\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"920\" height=\"360\" fill=\"white\"/>\n",
    );
    for (place, (name, colour, of)) in [
        ("99 % in ms", "#1f77b4", (|line| line.1) as fn(&(f64, f64, f64)) -> f64),
        ("resident MB", "#d95f02", |line| line.2),
    ]
    .into_iter()
    .enumerate()
    {
        let most = most(of);
        let points: String = lines
            .iter()
            .map(|line| format!("{:.1},{:.1} ", x(line.0), 20.0 + HEIGHT * (1.0 - of(line) / most)))
            .collect();
        let top = 16 + place * 16;
        let _ = write!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"700\" y=\"{top}\" fill=\"{colour}\">{name}, at most {most:.1}</text>\n"
        );
    }
    for (at, what) in done {
        let at = x(at.as_secs_f64());
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"20\" y2=\"320\" stroke=\"#bbb\"/>\n\
             <text x=\"{at:.1}\" y=\"334\" text-anchor=\"middle\">{what}</text>\n"
        );
    }
    let _ = writeln!(svg, "<text x=\"60\" y=\"354\">0 to {seconds:.0} s</text></svg>");
    fs::write(file, svg).unwrap();
}
