//! What a guard costs a server: requests per second of an app without one, of the same app behind
//! ours, and behind a middleware written by hand; and of the sample backend.
//!
//! ```sh
//! cargo bench -p key0-backend --bench http -- --only axum --rounds 9
//! ```
//!
//! The servers take turns, so that whatever else the machine does meets all of them alike. Turns are
//! short and many, because a machine's speed drifts. Every ratio is one of two turns of the same
//! round. One start of a server differs from the next by up to 0.05, so all are started anew several
//! times: what is shown is the median over the starts, of the medians over the rounds of each.
#![allow(missing_docs, clippy::expect_used, unreachable_pub)]

mod backend;
mod by_actix;
mod by_axum;
mod check;
mod cores;
mod figures;
mod load;
mod photo;
mod requests;
mod server;
mod store;
#[path = "../../../../benches/support/mod.rs"]
mod support;
mod turns;

use std::{io, rc::Rc, time::Duration};

use clap::Parser;
use cores::Cores;
use load::Requests;
use server::{Guard, Kind, Server};
use tokio::runtime::Runtime;
use turns::{Group, Way};

/// How long a server gets to warm up in every turn.
const WARM_UP: Duration = Duration::from_millis(100);
/// Long enough for the sample backend to read all its keys again, which it has forgotten since its
/// last turn.
const WARM_UP_OF_BACKEND: Duration = Duration::from_millis(500);
/// Long enough to read all keys once.
const WARM_UP_OF_HOT_KEYS: Duration = Duration::from_secs(6);
/// As long as the cache remembers a key while the store tells of every change. Keys that were read
/// together are read again together, so less would show only that, or nothing of it.
const TURN_OF_HOT_KEYS: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Options {
    /// How often every server is started.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// How many turns it has after each start.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 0.15)]
    seconds: f64,
    /// Leaves out all others.
    #[arg(long)]
    only: Option<Kind>,
    /// Gives the servers one core and the load another, which never sleeps: for ratios that drift
    /// less. Each server has a single thread then. On Linux only.
    #[arg(long)]
    cores_apart: bool,
    #[arg(long, hide = true)]
    serve: Option<Kind>,
    #[arg(long, hide = true)]
    guard: Option<Guard>,
    /// Said by `cargo bench` to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if let (Some(kind), Some(guard)) = (options.serve, options.guard) {
        return server::serve(kind, guard);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cores = if options.cores_apart { Some(Cores::two()?) } else { None };
    if cores.is_some() {
        runtime.spawn(load::never_sleep());
    }
    let length = Duration::from_secs_f64(options.seconds);
    let mut measured = Vec::new();
    for start in 1..=options.starts {
        if let Some(cores) = &cores {
            cores.start_servers()?;
        }
        let mut groups = start_servers(&runtime, options.only)?;
        if let Some(cores) = &cores {
            cores.make_load()?;
        }
        for round in 1..=options.rounds {
            eprintln!("start {start} of {}, round {round} of {}", options.starts, options.rounds);
            for group in groups.iter_mut().filter(|group| round == 1 || !group.once) {
                group.take_turns(&runtime, length)?;
            }
        }
        turns::add(&mut measured, groups);
    }
    figures::report(&measured)
}

fn start_servers(runtime: &Runtime, only: Option<Kind>) -> io::Result<Vec<Group>> {
    let mut groups = Vec::new();
    for (kind, name) in [(Kind::Axum, "axum"), (Kind::Actix, "actix"), (Kind::Backend, "backend")] {
        if only.is_none_or(|only| only == kind) {
            eprintln!("starting {name}");
            groups.extend(match kind {
                Kind::Axum | Kind::Actix => of_framework(runtime, kind, name)?,
                Kind::Backend => of_backend(runtime)?,
            });
        }
    }
    Ok(groups)
}

fn of_framework(runtime: &Runtime, kind: Kind, name: &'static str) -> io::Result<Vec<Group>> {
    let start = |guard| Server::start(kind, guard).map(Rc::new);
    let open = start(Guard::Open)?;
    let ours = start(Guard::Ours)?;
    let by_hand = start(Guard::ByHand)?;
    let hot = start(Guard::HotKeys)?;
    let tokens = requests::with_tokens();
    let keys = requests::with_keys(&ours.keys);
    let mixed = requests::mixed(&tokens, &keys);
    let hot_keys = requests::with_keys(&hot.keys);

    check::is_open(runtime, &open)?;
    check::guards(runtime, &ours)?;
    check::guards_by_tokens(runtime, &by_hand)?;
    let way = |name, server: &Rc<Server>, requests: &Requests| Way::new(name, server, requests);
    let guard = match kind {
        Kind::Axum => Some(start(Guard::AroundHandler)?),
        _ => None,
    };
    let by_guard = |group: Group, requests: &dyn Fn(&Server) -> Requests| match &guard {
        Some(guard) => group.way(way("ours, by guard", guard, &requests(guard))),
        None => group,
    };
    if let Some(guard) = &guard {
        check::guards(runtime, guard)?;
    }
    let mut by_tokens = Group::new(name, "tokens")
        .way(way("open", &open, &tokens))
        .way(way("ours", &ours, &tokens))
        .way(way("by hand", &by_hand, &tokens));
    if kind == Kind::Axum {
        by_tokens = by_tokens.way(way("empty layer", &start(Guard::EmptyLayer)?, &tokens));
    }
    let by_keys = Group::new(name, "cached keys")
        .way(way("open", &open, &keys))
        .way(way("ours", &ours, &keys));
    Ok(vec![
        by_guard(by_tokens, &|_| tokens.clone()),
        // Its keys are its own.
        by_guard(by_keys, &|server| requests::with_keys(&server.keys)),
        Group::new(name, "both mixed")
            .way(way("open", &open, &mixed))
            .way(way("ours", &ours, &mixed)),
        Group::new(name, "100,000 keys").once().way(way("open", &open, &hot_keys)).way(
            way("ours", &hot, &hot_keys)
                .warm_up(WARM_UP_OF_HOT_KEYS)
                .length(TURN_OF_HOT_KEYS)
                .count_reads(),
        ),
    ])
}

/// Beside the bare axum app, which does the same work.
fn of_backend(runtime: &Runtime) -> io::Result<Vec<Group>> {
    let open = Rc::new(Server::start(Kind::Axum, Guard::Open)?);
    let backend = Rc::new(backend::start(runtime)?);
    let tokens = requests::with_tokens();
    let keys = requests::with_keys(&backend.keys);

    check::is_open(runtime, &open)?;
    check::guards(runtime, &backend)?;
    let group = |name, requests| {
        let ours = Way::new("key0-backend", &backend, requests).warm_up(WARM_UP_OF_BACKEND);
        Group::new("backend", name).way(Way::new("open", &open, requests)).way(ours)
    };
    Ok(vec![group("tokens", &tokens), group("cached keys", &keys)])
}
