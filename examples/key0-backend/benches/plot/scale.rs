//! What an operation costs, by how many keys are in the file. Both axes are logarithmic.

use std::path::Path;

use plotters::{
    prelude::{ChartBuilder, Circle, IntoLogRange, LineSeries, Text, WHITE},
    style::{Color, IntoFont, RGBColor},
};
use serde::Deserialize;

use crate::{BLUE, Canvas, FONT, GREEN, GREY, ORANGE, Result, sheet};

/// What the benchmark says of one file, in microseconds.
#[derive(Deserialize)]
pub(crate) struct File {
    keys: f64,
    lookup_us: f64,
    lookup_from_disk_us: Option<f64>,
    list_page_us: f64,
    revoke_us: f64,
}

/// One line of the plot.
type Series = (&'static str, RGBColor, fn(&File) -> Option<f64>);

const SERIES: [Series; 4] = [
    ("look up", BLUE, |file| Some(file.lookup_us)),
    ("look up, from the disk", GREY, |file| file.lookup_from_disk_us),
    ("list a page", GREEN, |file| Some(file.list_page_us)),
    ("revoke", ORANGE, |file| Some(file.revoke_us)),
];

pub(crate) fn draw(files: &[File], file: &Path) -> Result<()> {
    sheet(file, 440, |canvas| lines(canvas, files))
}

fn lines(canvas: &Canvas<'_>, files: &[File]) -> Result<()> {
    let sizes = files.iter().map(|file| file.keys);
    let (least, most) =
        sizes.fold((f64::MAX, 0.0), |(least, most): (f64, f64), n| (least.min(n), most.max(n)));
    let times = || SERIES.iter().flat_map(|(_, _, of)| files.iter().filter_map(of));
    let (fastest, slowest) = (times().fold(f64::MAX, f64::min), times().fold(0.0, f64::max));
    let mut chart = ChartBuilder::on(canvas)
        .caption("microseconds by the number of keys in a SQLite file", (FONT, 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(
            // Room for the names at the end of the lines.
            (least / 1.5..most * 8.0).log_scale(),
            (fastest / 2.0..slowest * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("keys")
        .x_label_formatter(&|keys| count(*keys))
        .y_label_formatter(&|us| format!("{us} µs"))
        .label_style((FONT, 13))
        .draw()?;

    for (name, colour, of) in SERIES {
        let points: Vec<_> =
            files.iter().filter_map(|file| of(file).map(|us| (file.keys, us))).collect();
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
        let dots = points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
        chart.draw_series(dots)?;
        let font = (FONT, 13).into_font().color(&colour);
        let values = points
            .iter()
            .map(|(keys, us)| Text::new(format!("{us:.0}"), (*keys, us * 1.25), font.clone()));
        chart.draw_series(values)?;
        let end = points.last().map(|(keys, us)| (keys * 1.3, us * 1.08));
        chart.draw_series(end.map(|end| Text::new(name, end, font.clone())))?;
    }
    Ok(())
}

fn count(keys: f64) -> String {
    match keys {
        n if n >= 1e6 => format!("{} million", n / 1e6),
        n => format!("{} thousand", n / 1e3),
    }
}
