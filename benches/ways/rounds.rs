//! Ratios within one run, on a machine that has other things to do.
//!
//! The ways of a group take turns: in each round each runs for a moment, one right after the other.
//! A ratio is taken within its round, so that what slows the machine for a while slows both of its
//! sides; the median over many rounds leaves out what hits one side alone.

use std::{
    fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Group, Limit, Way};

const ROUNDS: usize = 101;
/// How long one way runs in one round.
const MOMENT: Duration = Duration::from_millis(1);

/// What was measured of one way.
pub struct Figure {
    group: &'static str,
    name: &'static str,
    nanos: f64,
    compared: Option<Compared>,
}

struct Compared {
    base: &'static str,
    ratio: f64,
    limit: Option<Limit>,
}

/// Measures the ways of a group side by side.
pub fn measure(group: &mut Group) -> Vec<Figure> {
    let ways = &mut group.ways;
    ways.iter_mut().for_each(Way::assert_good);
    let batches: Vec<u32> = ways.iter_mut().map(batch).collect();
    let mut nanos = vec![Vec::with_capacity(ROUNDS); ways.len()];
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            // Another one begins each round, so that none always follows the same one.
            let n = (round + turn) % ways.len();
            nanos[n].push(time(&mut ways[n], batches[n]).as_nanos() as f64 / f64::from(batches[n]));
        }
    }
    let figure = |(way, own): (&Way, &Vec<f64>)| {
        let compared = way.base.map(|base| {
            let place = ways.iter().position(|way| way.name == base);
            let base_nanos = &nanos[place.unwrap_or_else(|| panic!("no way {base}"))];
            let ratios = own.iter().zip(base_nanos).map(|(own, base)| own / base);
            Compared { base, ratio: median(ratios.collect()), limit: way.limit }
        });
        Figure { group: group.name, name: way.name, nanos: median(own.clone()), compared }
    };
    ways.iter().zip(&nanos).map(figure).collect()
}

/// How often a way runs in a moment.
fn batch(way: &mut Way) -> u32 {
    let mut count = 1;
    loop {
        let taken = time(way, count);
        if taken >= MOMENT {
            return count;
        }
        let missing = MOMENT.as_secs_f64() / taken.as_secs_f64().max(1e-9);
        count = (f64::from(count) * missing.clamp(1.1, 10.0)).ceil() as u32;
    }
}

fn time(way: &mut Way, count: u32) -> Duration {
    let began = Instant::now();
    for _ in 0..count {
        black_box(way.validate_next());
    }
    began.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a table, and writes the same as JSON to `target/figures`.
pub fn report(name: &str, figures: &[Figure]) {
    println!("\nMedians of {ROUNDS} interleaved rounds\n");
    println!("| way | ns | ratio | to | limit | |");
    println!("|---|--:|--:|---|---|---|");
    for figure in figures {
        println!("{}", figure.row());
    }
    let limited = figures.iter().filter_map(Figure::is_within);
    let (kept, missed): (Vec<bool>, Vec<bool>) = limited.partition(|kept| *kept);
    println!("\n{} limits kept, {} not", kept.len(), missed.len());

    let json = json!({
        "rounds": ROUNDS,
        "figures": figures.iter().map(Figure::to_json).collect::<Vec<_>>(),
    });
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("figures");
    let file = folder.join(format!("{name}.json"));
    let written =
        fs::create_dir_all(&folder).and_then(|()| fs::write(&file, format!("{json:#}\n")));
    match written {
        Ok(()) => println!("written to {}", file.display()),
        Err(error) => eprintln!("{}: {error}", file.display()),
    }
}

impl Figure {
    fn is_within(&self) -> Option<bool> {
        let compared = self.compared.as_ref()?;
        Some(compared.limit?.is_kept(compared.ratio))
    }

    fn row(&self) -> String {
        let Self { group, name, nanos, compared } = self;
        let start = format!("| {group}: {name} | {nanos:.0} |");
        let Some(Compared { base, ratio, limit }) = compared else {
            return format!("{start} | | | |");
        };
        let limit = match limit {
            None => String::new(),
            Some(Limit::AtMost(times)) => format!("at most {times}"),
            Some(Limit::AtLeast(times)) => format!("at least {times}"),
        };
        let outcome = match self.is_within() {
            None => "",
            Some(true) => "kept",
            Some(false) => "not kept",
        };
        format!("{start} {ratio:.2} | {base} | {limit} | {outcome} |")
    }

    fn to_json(&self) -> Value {
        let compared = self.compared.as_ref();
        let limit = compared.and_then(|compared| compared.limit).map(|limit| match limit {
            Limit::AtMost(times) => json!({ "at_most": times }),
            Limit::AtLeast(times) => json!({ "at_least": times }),
        });
        json!({
            "group": self.group,
            "name": self.name,
            "nanos": self.nanos,
            "base": compared.map(|compared| compared.base),
            "ratio": compared.map(|compared| compared.ratio),
            "limit": limit,
            "kept": self.is_within(),
        })
    }
}
