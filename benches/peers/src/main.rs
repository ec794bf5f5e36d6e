//! What guarding one route costs with this crate and with others that do it: requests per second, each
//! as a part of what the open route makes in the same round.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Each server is a process of its own, with one core; the load has another. Servers take turns, in
//! rounds. All of them are started anew several times, since one start of a server differs from the next
//! by up to 0.05: what is shown is the median over the starts, of the medians over the rounds of each.
//! Before any time is taken, each server is seen to let a good token in and to refuse a forged one, one
//! for another photo, and none.
#![allow(clippy::expect_used, dead_code)]

mod actix_peers;
mod axum_peers;
#[path = "../../../examples/key0-backend/benches/http/cores.rs"]
mod cores;
#[path = "../../../examples/key0-backend/benches/http/load.rs"]
mod load;
#[path = "../../../examples/key0-backend/benches/http/photo.rs"]
mod photo;
#[path = "../../../examples/key0-backend/benches/http/requests.rs"]
mod requests;
mod server;
#[path = "../../support/mod.rs"]
mod support;
mod tokens;

use std::{io, sync::Arc, time::Duration};

use clap::Parser;
use cores::Cores;
use load::{Load, Requests, call};
use server::{Peer, Server};
use tokio::runtime::Runtime;

const WARM_UP: Duration = Duration::from_millis(100);

#[derive(Parser)]
struct Options {
    /// How often every server is started.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// How many turns it has after each start.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 0.15)]
    seconds: f64,
    /// Only sees that every server guards, and takes no time.
    #[arg(long)]
    check: bool,
    #[arg(long, hide = true)]
    serve: Option<Peer>,
}

/// A server and the requests that it is sent.
struct Way {
    peer: Peer,
    server: Server,
    requests: Requests,
    /// Requests per second in each round.
    turns: Vec<f64>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if let Some(peer) = options.serve {
        return server::serve(peer);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cores = if options.check { None } else { Some(Cores::two()?) };
    if cores.is_some() {
        runtime.spawn(load::never_sleep());
    }
    // For each start, in the order of the peers: the medians of the ratios to the open route.
    let mut starts = Vec::new();
    for start in 1..=if options.check { 1 } else { options.starts } {
        if let Some(cores) = &cores {
            cores.start_servers()?;
        }
        let ways = Peer::all().map(|peer| Way::start(peer, &runtime));
        let mut ways = ways.collect::<io::Result<Vec<_>>>()?;
        if options.check {
            println!("{} servers guard as they should", ways.len());
            return Ok(());
        }
        if let Some(cores) = &cores {
            cores.make_load()?;
        }
        for round in 1..=options.rounds {
            eprintln!("start {start} of {}, round {round} of {}", options.starts, options.rounds);
            for way in &mut ways {
                way.take_turn(&runtime, Duration::from_secs_f64(options.seconds))?;
            }
        }
        starts.push(ways.iter().map(|way| way.ratio(&ways)).collect::<Vec<_>>());
    }
    report(&starts);
    Ok(())
}

fn report(starts: &[Vec<f64>]) {
    println!("| | route | of the open route | over the starts |\n|---|---|--:|--:|");
    for (at, peer) in Peer::all().enumerate() {
        let mut ratios: Vec<_> = starts.iter().map(|ratios| ratios[at]).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let (framework, name) = (peer.framework(), peer.name());
        let median = median(&mut ratios.clone());
        let [least, .., most] = &ratios[..] else {
            println!("| {framework} | {name} | {median:.3} | |");
            continue;
        };
        println!("| {framework} | {name} | {median:.3} | {least:.3} to {most:.3} |");
    }
}

impl Way {
    /// Started, and seen to guard.
    fn start(peer: Peer, runtime: &Runtime) -> io::Result<Self> {
        let server = Server::start(peer)?;
        let tokens = tokens::of(peer);
        let photo = |n: usize, token: Option<&str>| requests::photo(&support::resource(n), token);
        let asked = |n, token, wanted: u16| {
            let (status, body) = call(runtime, server.address, &photo(n, token))?;
            assert_eq!(status, wanted, "{} answers: {body}", peer.name());
            Ok::<_, io::Error>(body)
        };
        let body = asked(0, Some(&tokens[0]), 200)?;
        let first = support::resource(0);
        let wanted = photo::Photo::new(&first, support::PLAN);
        assert_eq!(body, serde_json::to_string(&wanted)?, "{}", peer.name());
        if !peer.is_open() {
            let signature = |token: &str| token.rfind('.').expect("three parts");
            let (own, other) = (&tokens[0], &tokens[1]);
            let forged = format!("{}{}", &own[..signature(own)], &other[signature(other)..]);
            asked(1, Some(own), 403)?;
            asked(0, Some(&forged), 401)?;
            asked(0, None, 401)?;
        }
        let requests = tokens.iter().enumerate().map(|(n, token)| photo(n, Some(token))).collect();
        Ok(Self { peer, server, requests: Arc::new(requests), turns: Vec::new() })
    }

    fn take_turn(&mut self, runtime: &Runtime, length: Duration) -> io::Result<()> {
        let mut load = Load::open(runtime, self.server.address)?;
        load.run(&self.requests, WARM_UP)?;
        let outcome = load.run(&self.requests, length)?;
        self.turns.push(outcome.latencies.len() as f64 / outcome.elapsed.as_secs_f64());
        Ok(())
    }

    /// To the open route of its framework, each round by itself.
    fn ratio(&self, all: &[Self]) -> f64 {
        let of_same = |way: &&Self| way.peer.framework() == self.peer.framework();
        let open = all.iter().filter(of_same).find(|way| way.peer.is_open()).expect("there is one");
        let ratios = self.turns.iter().zip(&open.turns).map(|(own, open)| own / open);
        median(&mut ratios.collect::<Vec<_>>())
    }
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
