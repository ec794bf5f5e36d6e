//! The figures, as a table and for whoever plots them.

use std::{fs, io, path::Path};

use serde_json::{Value, json};

use crate::turns::{Measured, MeasuredWay, Turn};

/// Prints a table, and writes `figures/http.json` in the target directory.
pub fn report(groups: &[Measured]) -> io::Result<()> {
    println!(
        "{:22} {:13} {:>10} {:>7} {:>7} {:>7} {:>5} {:>8} {:>10} {:>8}",
        "",
        "",
        "requests/s",
        "p50 µs",
        "p99 µs",
        "CPU µs",
        "busy",
        "to open",
        "to by hand",
        "reads/s"
    );
    let mut all = Vec::new();
    for group in groups {
        for way in &group.ways {
            let figures = figures(group, way);
            let show = |name: &str, decimals: usize| {
                figures[name]
                    .as_f64()
                    .map_or_else(String::new, |number| format!("{number:.decimals$}"))
            };
            println!(
                "{:22} {:13} {:>10} {:>7} {:>7} {:>7} {:>5} {:>8} {:>10} {:>8}",
                group.name,
                way.name,
                show("requests_per_second", 0),
                show("p50_us", 0),
                show("p99_us", 0),
                show("cpu_us", 2),
                show("busy", 2),
                show("ratio_to_open", 3),
                show("ratio_to_by_hand", 3),
                show("store_reads_per_second", 0),
            );
            all.push(figures);
        }
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target");
    let file = target.join("figures").join("http.json");
    fs::create_dir_all(target.join("figures"))?;
    fs::write(&file, serde_json::to_string_pretty(&all)?)?;
    println!("\nalso in {}", file.display());
    Ok(())
}

fn figures(group: &Measured, way: &MeasuredWay) -> Value {
    let if_any = |read: fn(&Turn) -> Option<f64>| {
        median(way.starts.iter().filter_map(|turns| median(turns.iter().filter_map(read))))
    };
    let of = |read: fn(&Turn) -> f64| {
        median(way.starts.iter().filter_map(|turns| median(turns.iter().map(read))))
    };
    let by_hand = group.ways.iter().find(|way| way.name == "by hand");
    json!({
        "group": group.name,
        "name": way.name,
        "starts": way.starts.len(),
        "rounds": way.starts.first().map_or(0, Vec::len),
        "requests_per_second": of(|turn| turn.requests_per_second),
        "p50_us": of(|turn| turn.p50),
        "p99_us": of(|turn| turn.p99),
        "cpu_us": if_any(|turn| turn.cpu),
        "busy": if_any(|turn| turn.busy),
        "ratio_to_open": ratio(way, &group.ways[0]),
        "ratio_to_by_hand": by_hand.and_then(|by_hand| ratio(way, by_hand)),
        "store_reads_per_second": if_any(|turn| turn.reads_per_second),
    })
}

/// The median over the starts of what the ratios in the rounds after each come to.
fn ratio(way: &MeasuredWay, other: &MeasuredWay) -> Option<f64> {
    let of_start = |(turns, others): (&Vec<Turn>, &Vec<Turn>)| {
        let pairs = turns.iter().zip(others);
        median(pairs.map(|(one, other)| one.requests_per_second / other.requests_per_second))
    };
    median(way.starts.iter().zip(&other.starts).filter_map(of_start))
}

fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
