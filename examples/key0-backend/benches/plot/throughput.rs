//! Requests per second of every server and workload, beside those of the route without a guard.

use std::path::Path;

use plotters::{
    prelude::{ChartBuilder, Rectangle, Text, WHITE},
    style::{BLACK, Color, IntoFont, RGBColor},
};
use serde::Deserialize;

use crate::{BLUE, Canvas, FONT, GREY, ORANGE, Result, sheet};

/// What the benchmark says of one server under one workload.
#[derive(Deserialize)]
pub(crate) struct Way {
    group: String,
    name: String,
    requests_per_second: f64,
    ratio_to_open: Option<f64>,
}

const ROW: u32 = 24;

pub(crate) fn draw(ways: &[Way], file: &Path) -> Result<()> {
    let groups: Vec<_> = ways.chunk_by(|one, next| one.group == next.group).collect();
    // Each group has a line for its name.
    let rows = ways.len() + groups.len();
    let height = ROW * (u32::try_from(rows)? + 3);
    sheet(file, height, |canvas| bars(canvas, &groups, rows))
}

fn bars(canvas: &Canvas<'_>, groups: &[&[Way]], rows: usize) -> Result<()> {
    let ways = groups.iter().flat_map(|group| group.iter());
    let most = ways.map(|way| way.requests_per_second).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(canvas)
        .caption("requests per second (and as a part of the open route's)", (FONT, 18))
        .margin(12)
        .margin_right(30)
        .x_label_area_size(30)
        .build_cartesian_2d(0.0..most * 1.2, rows as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(WHITE)
        .x_label_formatter(&|value| thousands(*value))
        .label_style((FONT, 13))
        .draw()?;

    let small = (FONT, 14).into_font();
    let mut row = 0.0;
    for group in groups {
        let name = group.first().map_or("", |way| way.group.as_str());
        let at = (0.0, row + 0.35);
        chart.draw_series([Text::new(name.to_owned(), at, (FONT, 15).into_font())])?;
        row += 1.0;
        for way in *group {
            let end = way.requests_per_second;
            let bar = [(0.0, row + 0.05), (end, row + 0.95)];
            chart.draw_series([Rectangle::new(bar, colour(&way.name).filled())])?;
            let inside = (most * 0.01, row + 0.25);
            let name = Text::new(way.name.clone(), inside, small.color(&WHITE));
            let outside = (end + most * 0.01, row + 0.25);
            let said = Text::new(said(way), outside, small.color(&BLACK));
            chart.draw_series([name, said])?;
            row += 1.0;
        }
    }
    Ok(())
}

fn said(way: &Way) -> String {
    let requests = thousands(way.requests_per_second);
    match way.ratio_to_open {
        Some(ratio) if way.name != "open" => format!("{requests} ({ratio:.2})"),
        _ => requests,
    }
}

fn colour(name: &str) -> RGBColor {
    match name {
        "open" | "empty layer" => GREY,
        "by hand" => ORANGE,
        _ => BLUE,
    }
}

fn thousands(value: f64) -> String {
    if value >= 1000.0 { format!("{:.1} k", value / 1000.0) } else { format!("{value:.0}") }
}
