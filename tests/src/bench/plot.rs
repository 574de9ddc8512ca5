//! Pictures of what was measured: panels of bars in groups, as SVG below `target/bench`.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const PANEL: (u32, u32) = (520, 340);
const HEADING: u32 = 40;
const LEGEND: u32 = 34;
/// Of the place that a group has.
const GROUP: f64 = 0.84;
/// Colours that people with any colour vision tell apart (Okabe and Ito), the relay's first.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(153, 153, 153),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// One picture.
#[derive(Debug)]
pub struct Picture<'a> {
    /// The name of the file, without `.svg`.
    pub name: &'a str,
    /// What stands over it.
    pub title: &'a str,
    /// What the bars of each group are, in their order.
    pub series: &'a [&'a str],
    /// Side by side.
    pub panels: Vec<Panel>,
}

/// Bars with one axis.
#[derive(Debug)]
pub struct Panel {
    /// What is measured, and its unit.
    pub title: String,
    /// Each with a name and a value for each of the series; none where it did not take part.
    pub groups: Vec<(String, Vec<Option<f64>>)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Picture<'_> {
    /// Writes it, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<()> {
        let path = folder()?.join(format!("{}.svg", self.name));
        let panels = u32::try_from(self.panels.len())?;
        let size = (panels * PANEL.0, HEADING + PANEL.1 + LEGEND);
        {
            let area = SVGBackend::new(&path, size).into_drawing_area();
            // Its errors borrow from the area.
            self.draw(&area)
                .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        }
        println!("plot: {}", path.display());
        Ok(())
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error + '_>> {
        area.fill(&WHITE)?;
        let area = area.titled(self.title, ("sans-serif", 20))?;
        let (_, height) = area.dim_in_pixel();
        let (body, legend) = area.split_vertically(height - LEGEND);
        for (panel, part) in self
            .panels
            .iter()
            .zip(body.split_evenly((1, self.panels.len())))
        {
            panel.draw(&part)?;
        }
        self.draw_legend(&legend)
    }

    fn draw_legend(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error + '_>> {
        let mut left = 60;
        for (name, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let square = [(left, 10), (left + 14, 24)];
            area.draw(&Rectangle::new(square, colour.filled()))?;
            let style = ("sans-serif", 14).into_font();
            area.draw(&Text::new((*name).to_owned(), (left + 20, 11), style))?;
            left += 44 + 8 * i32::try_from(name.len())?;
        }
        Ok(())
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error + '_>> {
        let values = self.groups.iter().flat_map(|(_, bars)| bars);
        let highest = values.flatten().copied().fold(0.0, f64::max);
        let top = if highest > 0.0 { highest * 1.12 } else { 1.0 };
        #[expect(clippy::cast_precision_loss, reason = "a handful of groups")]
        let width = self.groups.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 15))
            .margin(12)
            .x_label_area_size(26)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..width, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(TRANSPARENT)
            .y_labels(6)
            .y_label_style(("sans-serif", 12))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        let mut left = 0.0;
        for (name, bars) in &self.groups {
            draw_group(&mut chart, left..left + 1.0, bars)?;
            let (x, y) = chart.plotting_area().map_coordinate(&(left + 0.5, 0.0));
            let (origin_x, origin_y) = area.get_base_pixel();
            let place = (x - origin_x, y - origin_y + 6);
            area.draw(&Text::new(name.clone(), place, middle(13, VPos::Top)))?;
            left += 1.0;
        }
        Ok(())
    }
}

fn draw_group<'a>(
    chart: &mut Plane<'_, 'a>,
    place: Range<f64>,
    bars: &[Option<f64>],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
    let width = GROUP * (place.end - place.start) / bars.len() as f64;
    let mut left = place.start + (1.0 - GROUP) / 2.0;
    for (value, colour) in bars.iter().zip(COLOURS.iter().cycle()) {
        if let Some(value) = *value {
            let bar = [(left + width * 0.06, 0.0), (left + width * 0.94, value)];
            let label = Text::new(
                short(value),
                (left + width / 2.0, value),
                middle(10, VPos::Bottom),
            );
            let area = chart.plotting_area();
            area.draw(&Rectangle::new(bar, colour.filled()))?;
            area.draw(&label)?;
        }
        left += width;
    }
    Ok(())
}

fn middle(size: u32, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).pos(Pos::new(HPos::Center, vertical))
}

/// Three digits that mean something.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        1e6.. => format!("{:.2}M", value / 1e6),
        1e4.. => format!("{:.0}k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `target/bench`, beside the folder of the profile.
fn folder() -> Result<PathBuf> {
    // A benchmark is <target>/<profile>/deps/<benchmark>.
    let benchmark = std::env::current_exe()?;
    let target = benchmark.ancestors().nth(3).context("no target folder")?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}
