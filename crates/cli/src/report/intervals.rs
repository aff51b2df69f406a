//! Means with their intervals, one below the other on one scale.

use maud::{Markup, html};

use super::shown;

/// Height of a line, in pixels.
const LINE: usize = 40;

/// Some means, compared.
#[derive(Debug)]
pub struct Intervals {
    /// What is shown.
    pub title: String,
    /// What is measured, such as `accuracy, %`.
    pub unit: String,
    /// The means, in order.
    pub intervals: Vec<Interval>,
}

/// One of them, from 0 to 100.
#[derive(Debug)]
pub struct Interval {
    /// Its name.
    pub name: String,
    /// The mean.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Intervals {
    /// The chart as HTML. The scale ends with the highest of the intervals.
    pub fn markup(&self) -> Markup {
        let highest = self.intervals.iter().map(|one| one.high).fold(0.0, f64::max);
        let end = [5.0, 10.0, 20.0, 50.0].into_iter().find(|end| highest <= *end).unwrap_or(100.0);
        let height = LINE * self.intervals.len();
        // Room for the dots at the edges.
        let at = |value: f64| format!("{:.2}%", 1.0 + 98.0 * value.clamp(0.0, end) / end);
        html! {
            figure {
                figcaption { (shown(&self.title)) span.cut { ", " (shown(&self.unit)) } }
                svg.chart role="img" aria-label=(self.title) width="100%" height=(height + 22) {
                    @for step in 0..=4 {
                        @let value = end * f64::from(step) / 4.0;
                        line.grid x1=(at(value)) x2=(at(value)) y1="0" y2=(height) {}
                        text.axis x=(at(value)) y=(height + 16)
                            text-anchor=(match step { 0 => "start", 4 => "end", _ => "middle" }) {
                            (format!("{value}"))
                        }
                    }
                    @for (place, one) in self.intervals.iter().enumerate() {
                        @let middle = LINE * place + LINE - 12;
                        text.axis x="1%" y=(LINE * place + 14) { (shown(&one.name)) }
                        line.interval x1=(at(one.low)) x2=(at(one.high)) y1=(middle) y2=(middle) {
                            title { (format!("{:.1} to {:.1}", one.low, one.high)) }
                        }
                        circle.mark cx=(at(one.value)) cy=(middle) r="5" {
                            title { (format!("{:.1}", one.value)) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_and_the_scale_holds_every_interval() {
        let interval =
            |name: &str, value: f64, high| Interval { name: name.into(), value, low: 1.0, high };
        let intervals = vec![interval("<b>", 3.0, 12.0), interval("tuned", 15.0, 19.0)];
        let page =
            Intervals { title: "t".into(), unit: "%".into(), intervals }.markup().into_string();
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");
        // 20 is the end: 15 lies at three quarters.
        assert!(page.contains("cx=\"74.50%\""), "{page}");
    }
}
