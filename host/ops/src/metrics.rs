//! Metrics as a table and as samples: what each one means stands in one place, and nothing else can be told.
//!
//! A process has a list of [`Metric`]s. For each scrape it fills a [`Sheet`] and encodes it as OpenMetrics text. The
//! number of series of one metric is bounded.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};

/// Series of one metric in a scrape; more are left out, and `metrics_series_left_out` says so.
const MAX_SERIES: usize = 4096;
/// The longest value of a label, in bytes.
const MAX_LABEL: usize = 128;

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What one metric means.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name without unit and `_total`.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// `bytes` or `seconds`, where it has one.
    pub unit: Option<&'static str>,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, a sentence.
    pub help: &'static str,
}

impl Metric {
    /// Returns the name as a query has it.
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        };
        format!("{}{unit}{total}", self.name)
    }
}

#[derive(Debug, Clone, Copy)]
enum Value {
    Whole(u64),
    Real(f64),
}

/// The samples of one scrape.
#[derive(Debug)]
pub struct Sheet {
    metrics: Vec<&'static Metric>,
    samples: BTreeMap<&'static str, Vec<(Vec<String>, Value)>>,
    left_out: u64,
}

impl Sheet {
    /// Makes an empty sheet for these metrics.
    pub fn new(metrics: impl IntoIterator<Item = &'static Metric>) -> Self {
        Self {
            metrics: metrics.into_iter().collect(),
            samples: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// Adds a whole number, with a value for each label in their order.
    pub fn whole(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        self.add(metric, labels, Value::Whole(value));
    }

    /// The same for what is counted as `usize`.
    pub fn count(&mut self, metric: &'static Metric, labels: &[&str], value: usize) {
        self.whole(metric, labels, value as u64);
    }

    /// Adds a number with a fraction.
    pub fn real(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        self.add(metric, labels, Value::Real(value));
    }

    /// Adds 1 for true and 0 for false.
    pub fn flag(&mut self, metric: &'static Metric, labels: &[&str], value: bool) {
        self.whole(metric, labels, u64::from(value));
    }

    fn add(&mut self, metric: &'static Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        debug_assert!(
            self.metrics.iter().any(|known| known.name == metric.name),
            "{} is not in the table",
            metric.name
        );
        let series = self.samples.entry(metric.name).or_default();
        if series.len() >= MAX_SERIES {
            self.left_out += 1;
            return;
        }
        series.push((labels.iter().map(|label| cut(label)).collect(), value));
    }

    /// Returns how many series had no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Writes the samples as OpenMetrics text, after what another registry holds.
    pub fn encode_after(self, other: &Registry) -> String {
        let mut own = Registry::default();
        own.register_collector(Box::new(Collected(self)));
        let mut out = String::new();
        let encoded = text::encode_registry(&mut out, other)
            .and_then(|()| text::encode_registry(&mut out, &own))
            .and_then(|()| text::encode_eof(&mut out));
        match encoded {
            Ok(()) => out,
            // Writing to a string does not fail; half an answer would be taken for a whole one.
            Err(fmt::Error) => "# EOF\n".to_owned(),
        }
    }

    /// Writes the samples as OpenMetrics text.
    pub fn encode(self) -> String {
        self.encode_after(&Registry::default())
    }
}

fn cut(label: &str) -> String {
    let mut end = label.len().min(MAX_LABEL);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    label.get(..end).unwrap_or_default().to_owned()
}

#[derive(Debug)]
struct Collected(Sheet);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in &self.0.metrics {
            let unit = metric.unit.map(|unit| Unit::Other(unit.to_owned()));
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut described = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
            for (labels, value) in self.0.samples.get(metric.name).into_iter().flatten() {
                let pairs: Vec<(&str, &str)> = metric
                    .labels
                    .iter()
                    .copied()
                    .zip(labels.iter().map(String::as_str))
                    .collect();
                if pairs.is_empty() {
                    write_value(&mut described, metric.kind, *value)?;
                } else {
                    let set = pairs.as_slice();
                    write_value(&mut described.encode_family(&set)?, metric.kind, *value)?;
                }
            }
        }
        Ok(())
    }
}

fn write_value(encoder: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    const NONE_WHOLE: Option<&Exemplar<Vec<(String, String)>, u64>> = None;
    const NONE_REAL: Option<&Exemplar<Vec<(String, String)>, f64>> = None;
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter(&value, NONE_WHOLE),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter(&value, NONE_REAL),
        (Kind::Gauge, Value::Whole(value)) => encoder.encode_gauge(&value),
        (Kind::Gauge, Value::Real(value)) => encoder.encode_gauge(&value),
    }
}

/// Returns the table of these metrics as Markdown, for the documentation.
pub fn markdown(metrics: &[&'static Metric]) -> String {
    let mut text = String::from("| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n");
    for metric in metrics {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        text.push_str(&format!(
            "| `{}` | {kind}{} | {} | {} |\n",
            metric.full_name(),
            metric.unit.map(|unit| format!(", {unit}")).unwrap_or_default(),
            labels.join(", "),
            metric.help
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    static BYTES: Metric = Metric {
        name: "t_stream",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: &["peer", "direction"],
        help: "Bytes of streams.",
    };
    static UP: Metric = Metric {
        name: "t_up",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "Whether it is up.",
    };

    #[test]
    fn a_sheet_is_openmetrics_text() {
        let mut sheet = Sheet::new([&BYTES, &UP]);
        sheet.whole(&BYTES, &["a\"b\nc\\", "in"], 7);
        sheet.flag(&UP, &[], true);
        let text = sheet.encode();
        for line in [
            "# TYPE t_stream_bytes counter",
            "# UNIT t_stream_bytes bytes",
            r#"t_stream_bytes_total{peer="a\"b\nc\\",direction="in"} 7"#,
            "# TYPE t_up gauge",
            "t_up 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert_eq!(BYTES.full_name(), "t_stream_bytes_total");
    }

    #[test]
    fn a_metric_without_a_sample_is_described_all_the_same() {
        assert!(
            Sheet::new([&BYTES])
                .encode()
                .contains("# TYPE t_stream_bytes counter")
        );
    }

    #[test]
    fn series_and_labels_are_bounded() {
        let mut sheet = Sheet::new([&BYTES]);
        for number in 0..MAX_SERIES + 5 {
            sheet.whole(&BYTES, &[&format!("{number}{}", "ü".repeat(500)), "in"], 1);
        }
        assert_eq!(sheet.left_out(), 5);
        let text = sheet.encode();
        assert_eq!(
            text.lines().filter(|line| !line.starts_with('#')).count(),
            MAX_SERIES
        );
        assert!(text.lines().all(|line| line.len() < 2 * MAX_LABEL));
    }
}
