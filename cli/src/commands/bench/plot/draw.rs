//! Panels -> pixels or SVG, by plotters.

use std::sync::Once;

use anyhow::Result;
use babil_runtime::Error;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use super::{Curve, Format, Panel, Value};

/// Of a panel, in pixels of SVG; PNG has twice as many.
const WIDTH: u32 = 860;
const HEIGHT: u32 = 380;

/// Colours that people with any eyes tell apart (Okabe and Ito 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(60, 60, 60),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

type Area<B> = DrawingArea<B, Shift>;
type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// Draws `panels`, one under the other.
pub(super) fn draw(panels: &[Panel], format: Format) -> Result<Vec<u8>> {
    let height = HEIGHT * panels.len().max(1) as u32;
    match format {
        Format::Svg => Ok(svg(WIDTH, height, |area| all(area, panels, 1))?.into_bytes()),
        Format::Png => {
            let (width, height) = (2 * WIDTH, 2 * height);
            let mut pixels = vec![255; 3 * (width * height) as usize];
            fonts()?;
            {
                let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
                all(&area, panels, 2).and_then(|()| area.present()).map_err(failed)?;
            }
            encode(&pixels, width, height)
        }
    }
}

/// Bars alone, for pages.
pub(in super::super) fn bars_svg(title: &str, y: &'static str, bars: Vec<(String, Value)>) -> Result<String> {
    let panel = Panel::Bars { title: title.to_owned(), y, bars };
    svg(WIDTH, HEIGHT, |area| all(area, std::slice::from_ref(&panel), 1))
}

fn svg(width: u32, height: u32, draw: impl Fn(&Area<SVGBackend<'_>>) -> Drawn<SVGBackend<'static>>) -> Result<String> {
    fonts()?;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        draw(&area).and_then(|()| area.present()).map_err(failed)?;
    }
    Ok(text)
}

/// The font of labels, once.
fn fonts() -> Result<()> {
    static ONCE: Once = Once::new();
    static FONT: &[u8] = include_bytes!("../font/DejaVuSans-latin.ttf");
    let mut fine = true;
    ONCE.call_once(|| fine = register_font("sans-serif", FontStyle::Normal, FONT).is_ok());
    if fine { Ok(()) } else { Err(Error::Unsupported("plots: the font of their labels".to_owned()).into()) }
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("cannot draw the plot: {error}")
}

/// Pixels of red, green and blue as a PNG file.
fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels));
    written.map_err(failed)?;
    Ok(file)
}

/// Sizes grow with the resolution.
#[derive(Clone, Copy)]
struct Scale(u32);

impl Scale {
    fn px(self, pixels: u32) -> u32 {
        pixels * self.0
    }

    fn font(self, size: u32) -> TextStyle<'static> {
        ("sans-serif", self.px(size) as i32).into_font().color(&INK)
    }
}

fn all<B: DrawingBackend>(area: &Area<B>, panels: &[Panel], scale: u32) -> Drawn<B> {
    area.fill(&WHITE)?;
    for (area, panel) in area.split_evenly((panels.len().max(1), 1)).iter().zip(panels) {
        match panel {
            Panel::Curves { title, x, y, curves } => draw_curves(area, Scale(scale), title, [x, y], curves)?,
            Panel::Bars { title, y, bars } => draw_bars(area, Scale(scale), title, y, bars)?,
            Panel::Power { title, samples, phases } => draw_power(area, Scale(scale), title, samples, phases)?,
        }
    }
    Ok(())
}

/// From nothing to a bit more than the most.
fn from_zero(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let most = values.fold(0.0, f64::max);
    0.0..if most > 0.0 { 1.12 * most } else { 1.0 }
}

/// As many digits as tell numbers of such a range apart.
fn digits(range: &std::ops::Range<f64>) -> usize {
    (2.0 - range.end.log10()).ceil().clamp(0.0, 6.0) as usize
}

fn draw_curves<B: DrawingBackend>(
    area: &Area<B>,
    scale: Scale,
    title: &str,
    [x, y]: [&str; 2],
    curves: &[Curve],
) -> Drawn<B> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (least, most) = points().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    let margin = (0.04 * (most - least)).max(0.02);
    let height = from_zero(points().map(|(_, value)| value.high));
    let digits = digits(&height);
    // Threads are whole numbers, and few.
    let ticks = if most - least < 12.0 { (most - least) as usize + 1 } else { 9 };
    let mut chart = ChartBuilder::on(area)
        .caption(title, scale.font(18))
        .margin(scale.px(14))
        .x_label_area_size(scale.px(46))
        .y_label_area_size(scale.px(74))
        .build_cartesian_2d(least - margin..most + margin, height)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(ticks)
        .y_labels(7)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.digits$}"))
        .x_desc(x)
        .y_desc(y)
        .label_style(scale.font(13))
        .axis_desc_style(scale.font(14))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(scale.px(2));
        let line = LineSeries::new(curve.points.iter().map(|(x, value)| (*x, value.value)), style);
        let key = move |(x, y): (i32, i32)| {
            PathElement::new([(x, y), (x + scale.px(18) as i32, y)], colour.stroke_width(scale.px(2)))
        };
        chart.draw_series(line)?.label(curve.name.clone()).legend(key);
        let cap = 0.007 * (most - least + 2.0 * margin);
        let known = curve.points.iter().filter(|(_, value)| value.high > value.low);
        let whiskers = known.flat_map(|(x, value)| whisker(*x, value, cap));
        chart.draw_series(whiskers.map(|line| PathElement::new(line, colour.stroke_width(scale.px(1)))))?;
        let dot = |(x, value): &(f64, Value)| Circle::new((*x, value.value), scale.px(3), colour.filled());
        chart.draw_series(curve.points.iter().map(dot))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(scale.font(13))
        .margin(scale.px(8))
        .legend_area_size(scale.px(24))
        .draw()
}

/// The lines of an interval: from end to end, and a cap at either, of `cap` to either side.
fn whisker(x: f64, value: &Value, cap: f64) -> [Vec<(f64, f64)>; 3] {
    let across = |y| vec![(x - cap, y), (x + cap, y)];
    [vec![(x, value.low), (x, value.high)], across(value.low), across(value.high)]
}

/// Text that fits a bar's width of so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn draw_bars<B: DrawingBackend>(
    area: &Area<B>,
    scale: Scale,
    title: &str,
    y: &str,
    bars: &[(String, Value)],
) -> Drawn<B> {
    let height = from_zero(bars.iter().map(|(_, value)| value.high));
    let digits = digits(&height);
    let count = bars.len().max(1);
    let mut chart = ChartBuilder::on(area)
        .caption(title, scale.font(18))
        .margin(scale.px(14))
        .x_label_area_size(scale.px(34))
        .y_label_area_size(scale.px(74))
        .build_cartesian_2d(-0.5..count as f64 - 0.5, height.clone())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(0)
        .y_labels(7)
        .y_label_formatter(&|y| format!("{y:.digits$}"))
        .y_desc(y)
        .label_style(scale.font(13))
        .axis_desc_style(scale.font(14))
        .draw()?;
    let half = if count < 3 { 0.2 } else { 0.33 };
    for (at, ((_, value), colour)) in bars.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let x = at as f64;
        let corners = [(x - half, 0.0), (x + half, value.value)];
        chart.draw_series([Rectangle::new(corners, colour.mix(0.75).filled())])?;
        if value.high > value.low {
            let lines = whisker(x, value, 0.012 * count as f64);
            chart.draw_series(lines.map(|line| PathElement::new(line, INK.stroke_width(scale.px(1)))))?;
        }
        let above = scale.font(13).pos(Pos::new(HPos::Center, VPos::Bottom));
        let label = (x, value.high + 0.015 * height.end);
        chart.draw_series([Text::new(super::super::table::short(value.value), label, above)])?;
    }
    // Names stand where the axis has its numbers.
    let room = (11 * WIDTH / 80) as usize / count;
    for (at, (name, _)) in bars.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(at as f64, 0.0));
        let (left, top) = area.get_base_pixel();
        let style = scale.font(13).pos(Pos::new(HPos::Center, VPos::Top));
        area.draw_text(&cut(name, room), &style, (x - left, y - top + scale.px(8) as i32))?;
    }
    Ok(())
}

fn draw_power<B: DrawingBackend>(
    area: &Area<B>,
    scale: Scale,
    title: &str,
    samples: &[(f64, f64)],
    phases: &[(String, f64, f64)],
) -> Drawn<B> {
    let end = samples.iter().map(|(time, _)| *time).chain(phases.iter().map(|(_, _, to)| *to)).fold(1.0, f64::max);
    let height = from_zero(samples.iter().map(|(_, watts)| *watts));
    let digits = digits(&height);
    let mut chart = ChartBuilder::on(area)
        .caption(title, scale.font(18))
        .margin(scale.px(14))
        .x_label_area_size(scale.px(46))
        .y_label_area_size(scale.px(74))
        .build_cartesian_2d(0.0..end, height.clone())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .y_labels(7)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.digits$}"))
        .x_desc("seconds")
        .y_desc("watts")
        .label_style(scale.font(13))
        .axis_desc_style(scale.font(14))
        .draw()?;
    // Repetitions of a test have a colour; the legend names it once.
    let mut names: Vec<&str> = Vec::new();
    for (name, from, to) in phases {
        let known = names.iter().position(|known| known == name);
        let colour = match name.as_str() {
            "idle" => RGBColor(150, 150, 150),
            _ => COLOURS[known.unwrap_or(names.len()) % COLOURS.len()],
        };
        let shade = Rectangle::new([(*from, 0.0), (*to, height.end)], colour.mix(0.16).filled());
        let drawn = chart.draw_series([shade])?;
        if known.is_none() {
            let side = scale.px(12) as i32;
            let key = move |(x, y): (i32, i32)| {
                Rectangle::new([(x, y - side / 2), (x + side, y + side / 2)], colour.mix(0.45).filled())
            };
            drawn.label(name.clone()).legend(key);
            names.push(name);
        }
    }
    chart.draw_series(LineSeries::new(samples.iter().copied(), INK.stroke_width(scale.px(1))))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(scale.font(13))
        .margin(scale.px(8))
        .legend_area_size(scale.px(20))
        .draw()
}
