//! Ways that take turns: see `../ways/rounds.rs`, which does the same for what needs no caller.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

/// Odd, so that the median is one of them.
const ROUNDS: usize = 15;
/// How long one way runs in one round.
const MOMENT: Duration = Duration::from_millis(150);

pub(crate) type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something to be done over and over, each time with another number.
pub(crate) struct Way {
    name: &'static str,
    call: Arc<dyn Fn(u64) -> Done + Send + Sync>,
}

/// Ways to be compared with the first of them, by so many callers at a time.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) callers: &'static [usize],
    pub(crate) ways: Vec<Way>,
}

impl Way {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        call: impl Fn(u64) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { name, call: Arc::new(move |number| Box::pin(call(number))) }
    }

    /// Calls per second.
    async fn rate(&self, callers: usize, next: &Arc<AtomicU64>) -> f64 {
        let began = Instant::now();
        let mut running = JoinSet::new();
        for _ in 0..callers {
            let (call, next) = (Arc::clone(&self.call), Arc::clone(next));
            running.spawn(async move {
                let mut done = 0_u32;
                while began.elapsed() < MOMENT {
                    call(next.fetch_add(1, Relaxed)).await;
                    done += 1;
                }
                done
            });
        }
        let done: u32 = running.join_all().await.into_iter().sum();
        f64::from(done) / began.elapsed().as_secs_f64()
    }
}

/// Prints the medians of the rates, and of their ratios to the first way in the same round.
pub(crate) async fn measure(group: &Group) {
    let next = Arc::new(AtomicU64::new(0));
    println!("\n{:<44} {:>8} {:>9} {:>7}", group.name, "callers", "a second", "ratio");
    for &callers in group.callers {
        let mut rates = vec![Vec::with_capacity(ROUNDS); group.ways.len()];
        for round in 0..=ROUNDS {
            for turn in 0..group.ways.len() {
                let n = (round + turn) % group.ways.len();
                let rate = group.ways[n].rate(callers, &next).await;
                // The first round opens connections.
                if round > 0 {
                    rates[n].push(rate);
                }
            }
        }
        for (way, own) in group.ways.iter().zip(&rates) {
            let ratios = own.iter().zip(&rates[0]).map(|(own, base)| own / base);
            let (rate, ratio) = (median(own.clone()), median(ratios.collect()));
            println!("  {:<42} {callers:>8} {rate:>9.0} {ratio:>7.2}", way.name);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
