//! Who is compared with whom, and what comes of their turns.

use std::{io, rc::Rc, time::Duration};

use tokio::runtime::Runtime;

use crate::{
    WARM_UP,
    load::{Load, Requests, call},
    server::Server,
    store::READS,
};

/// Servers that get the same requests. The first of them is the open one.
pub struct Group {
    pub name: String,
    /// It has one turn after each start, however many rounds there are.
    pub once: bool,
    pub ways: Vec<Way>,
}

/// A server, and what it is asked.
pub struct Way {
    pub name: &'static str,
    server: Rc<Server>,
    requests: Requests,
    warm_up: Duration,
    length: Option<Duration>,
    counts_reads: bool,
    turns: Vec<Turn>,
}

/// What came of a group's turns, after each start.
pub struct Measured {
    pub name: String,
    pub ways: Vec<MeasuredWay>,
}

pub struct MeasuredWay {
    pub name: &'static str,
    pub starts: Vec<Vec<Turn>>,
}

/// Adds the turns after one start, and ends its servers.
pub fn add(measured: &mut Vec<Measured>, groups: Vec<Group>) {
    if measured.is_empty() {
        let way = |way: &Way| MeasuredWay { name: way.name, starts: Vec::new() };
        let group = |group: &Group| Measured {
            name: group.name.clone(),
            ways: group.ways.iter().map(way).collect(),
        };
        measured.extend(groups.iter().map(group));
    }
    for (measured, group) in measured.iter_mut().zip(groups) {
        for (measured, way) in measured.ways.iter_mut().zip(group.ways) {
            measured.starts.push(way.turns);
        }
    }
}

/// What one turn came to.
pub struct Turn {
    pub requests_per_second: f64,
    /// Time to a response, in microseconds: half of them took no longer.
    pub p50: f64,
    /// And so for 99 in 100.
    pub p99: f64,
    /// What the server has computed per request, in microseconds.
    pub cpu: Option<f64>,
    /// How many threads the server had computing at a time.
    pub busy: Option<f64>,
    pub reads_per_second: Option<f64>,
}

impl Group {
    pub fn new(framework: &str, requests: &str) -> Self {
        Self { name: format!("{framework}, {requests}"), once: false, ways: Vec::new() }
    }

    pub fn once(self) -> Self {
        Self { once: true, ..self }
    }

    pub fn way(mut self, way: Way) -> Self {
        self.ways.push(way);
        self
    }

    pub fn take_turns(&mut self, runtime: &Runtime, length: Duration) -> io::Result<()> {
        self.ways.iter_mut().try_for_each(|way| way.take_turn(runtime, length))
    }
}

impl Way {
    pub fn new(name: &'static str, server: &Rc<Server>, requests: &Requests) -> Self {
        Self {
            name,
            server: server.clone(),
            requests: requests.clone(),
            warm_up: WARM_UP,
            length: None,
            counts_reads: false,
            turns: Vec::new(),
        }
    }

    pub fn warm_up(self, warm_up: Duration) -> Self {
        Self { warm_up, ..self }
    }

    /// Longer or shorter turns than the others have.
    pub fn length(self, length: Duration) -> Self {
        Self { length: Some(length), ..self }
    }

    pub fn count_reads(self) -> Self {
        Self { counts_reads: true, ..self }
    }

    fn take_turn(&mut self, runtime: &Runtime, length: Duration) -> io::Result<()> {
        let mut load = Load::open(runtime, self.server.address)?;
        load.run(&self.requests, self.warm_up)?;
        let (reads, computed) = (self.reads(runtime)?, self.server.computed());
        let outcome = load.run(&self.requests, self.length.unwrap_or(length))?;
        let seconds = outcome.elapsed.as_secs_f64();
        let computed = self.server.computed().zip(computed).map(|(now, then)| now - then);
        let reads = self.reads(runtime)?.zip(reads).map(|(now, then)| now - then);

        let mut latencies = outcome.latencies;
        latencies.sort_unstable();
        let percentile = |percent| micros(latencies[(latencies.len() - 1) * percent / 100]);
        let count = latencies.len() as f64;
        self.turns.push(Turn {
            requests_per_second: count / seconds,
            p50: percentile(50),
            p99: percentile(99),
            cpu: computed.map(|computed| micros(computed) / count),
            busy: computed.map(|computed| computed.as_secs_f64() / seconds),
            reads_per_second: reads.map(|reads| reads as f64 / seconds),
        });
        Ok(())
    }

    fn reads(&self, runtime: &Runtime) -> io::Result<Option<u64>> {
        if !self.counts_reads {
            return Ok(None);
        }
        let request = format!("GET {READS} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        let (_, body) = call(runtime, self.server.address, request.as_bytes())?;
        body.parse().map(Some).map_err(io::Error::other)
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
