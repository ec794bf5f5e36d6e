//! Where the figures go: onto the screen, and into files for the plots.

use std::{fs, path::Path};

use serde::Serialize;

use crate::{cache, file};

pub(crate) fn print_cache(figures: &cache::Figures) {
    println!("\nthe cache, with {} keys and its other limits as they are", figures.cached_keys);
    println!("  bytes for each key           {:>9}", figures.bytes_per_cached_key);
    println!("    as the system sees it      {:>9}", shown(figures.resident_bytes_per_cached_key));
    println!("  unknown digests that came    {:>9}", figures.flood);
    println!("    microseconds each          {:>9.1}", figures.flood_us_each);
    println!("    took MiB at most           {:>9.1}", figures.flood_peak_mib);
    println!(
        "    as the system sees it      {:>9}",
        shown(figures.flood_resident_mib.map(rounded))
    );
    println!("  valid keys remembered, %     {:>9.2}", figures.hits_before_percent);
    println!("    while the flood came       {:>9.2}", figures.hits_under_flood_percent);
}

pub(crate) fn print_files(figures: &[file::Figures]) {
    println!("\nSQLite, microseconds; medians, and the 99th percentile of looking up");
    println!(
        "cold: no cache of ours in front; the file is in the system's memory as far as it fits"
    );
    println!(
        "disk: the first of a store that was just opened, when no page of the file is in memory"
    );
    println!(
        "{:>10} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "keys",
        "file MiB",
        "fill s",
        "cold",
        "p99",
        "disk",
        "p99",
        "1st page",
        "any page",
        "revoke"
    );
    for of in figures {
        println!(
            "{:>10} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>9} {:>9} {:>9.1} {:>9.1} {:>9.1}",
            of.keys,
            of.file_mib,
            of.fill_s,
            of.lookup_us,
            of.lookup_p99_us,
            shown(of.lookup_from_disk_us.map(rounded)),
            shown(of.lookup_from_disk_p99_us.map(rounded)),
            of.list_page_us,
            of.list_deep_page_us,
            of.revoke_us,
        );
    }
    if let [smallest, .., largest] = figures {
        println!(
            "a cold look-up among {} keys takes {:.2} of one among {}",
            largest.keys,
            largest.lookup_us / smallest.lookup_us,
            smallest.keys
        );
    }
}

/// A row for each file, with the cache's figures in it.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    file: &'a file::Figures,
    #[serde(flatten)]
    cache: &'a cache::Figures,
}

/// Leaves the figures in `target/figures/scale.json`.
pub(crate) fn keep(cache: &cache::Figures, files: &[file::Figures]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("figures");
    fs::create_dir_all(&folder).expect("a folder");
    let rows: Vec<_> = files.iter().map(|file| Row { file, cache }).collect();
    let json = serde_json::to_string_pretty(&rows).expect("plain figures");
    fs::write(folder.join("scale.json"), json).expect("a file");
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}
