//! Draws the plots of the page on performance, from what the other benchmarks have left in
//! `target/figures/`.
//!
//! ```sh
//! cargo bench -p key0-backend --bench plot
//! ```
#![allow(missing_docs)]

mod scale;
mod throughput;

use std::{error::Error, fs, path::Path};

use plotters::{
    prelude::{DrawingArea, IntoDrawingArea, SVGBackend, WHITE},
    style::RGBColor,
};
use serde::de::DeserializeOwned;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

const WIDTH: u32 = 800;
const FONT: &str = "sans-serif";
const BLUE: RGBColor = RGBColor(31, 100, 180);
const ORANGE: RGBColor = RGBColor(205, 105, 20);
const GREEN: RGBColor = RGBColor(40, 130, 70);
const GREY: RGBColor = RGBColor(120, 120, 120);

fn main() -> Result<()> {
    let figures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("figures");
    let plots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/docs/performance");
    fs::create_dir_all(&plots)?;
    if let Some(ways) = read(&figures.join("http.json"))? {
        throughput::draw(&ways, &plots.join("throughput.svg"))?;
    }
    if let Some(files) = read(&figures.join("scale.json"))? {
        scale::draw(&files, &plots.join("scale.svg"))?;
    }
    Ok(())
}

/// None, and a word about it, where the benchmark was not run.
fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<Vec<T>>> {
    if !file.exists() {
        println!("there is no {}", file.display());
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&fs::read(file)?)?))
}

/// An empty sheet, drawn on by `draw`.
fn sheet(file: &Path, height: u32, draw: impl FnOnce(&Canvas<'_>) -> Result<()>) -> Result<()> {
    let canvas = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    canvas.fill(&WHITE)?;
    draw(&canvas)?;
    canvas.present()?;
    println!("drew {}", file.display());
    Ok(())
}
