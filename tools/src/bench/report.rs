//! The findings of a bench: a table for people, JSON for programs, histograms for both.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde_json::json;

use super::figures::percentiles;

/// One line of the table.
enum Finding {
    /// A number.
    Value {
        name: String,
        value: f64,
        unit: &'static str,
        aim: Option<f64>,
    },
    /// A distribution in nanoseconds.
    Distribution {
        name: String,
        histogram: Histogram<u64>,
    },
    /// A quantile as a ratio to its floor.
    Ratio {
        name: String,
        quantile: f64,
        own: u64,
        floor: u64,
        most: Option<f64>,
    },
    /// A number with the most that is aimed at.
    Bounded {
        name: String,
        value: f64,
        unit: &'static str,
        most: f64,
    },
    /// Why something was not measured.
    Note { name: String, text: String },
}

/// All findings.
#[derive(Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Adds a number; `aim` is the least that is aimed at.
    pub fn value(&mut self, name: &str, value: f64, unit: &'static str, aim: Option<f64>) {
        self.findings.push(Finding::Value {
            name: name.to_owned(),
            value,
            unit,
            aim,
        });
    }

    /// Adds a number; `most` is the most that is aimed at.
    pub fn at_most(&mut self, name: &str, value: f64, unit: &'static str, most: f64) {
        self.findings.push(Finding::Bounded {
            name: name.to_owned(),
            value,
            unit,
            most,
        });
    }

    /// Adds a distribution.
    pub fn histogram(&mut self, name: &str, histogram: Histogram<u64>) {
        self.findings.push(Finding::Distribution {
            name: name.to_owned(),
            histogram,
        });
    }

    /// Adds a distribution, and one of its quantiles as a ratio to a floor's; `most` is the aim.
    pub fn ratio(
        &mut self,
        name: &str,
        (own, quantile): (Histogram<u64>, f64),
        (floor, floor_quantile): (&Histogram<u64>, f64),
        most: Option<f64>,
    ) {
        let floor = floor.value_at_quantile(floor_quantile);
        self.ratio_to(name, (own, quantile), floor, most);
    }

    /// As [`Report::ratio`], to a floor in nanoseconds.
    pub fn ratio_to(
        &mut self,
        name: &str,
        (own, quantile): (Histogram<u64>, f64),
        floor: u64,
        most: Option<f64>,
    ) {
        let value = own.value_at_quantile(quantile);
        if quantile <= 0.5 {
            self.histogram(name, own);
        }
        let name = name.to_owned();
        self.findings.push(Finding::Ratio {
            name,
            quantile,
            own: value,
            floor,
            most,
        });
    }

    /// Adds the ratio of two p50 that stand elsewhere, in nanoseconds; `most` is the aim.
    pub fn times(&mut self, name: &str, own: u64, floor: u64, most: Option<f64>) {
        self.findings.push(Finding::Ratio {
            name: name.to_owned(),
            quantile: 0.5,
            own,
            floor,
            most,
        });
    }

    /// Says why something is missing.
    pub fn note(&mut self, name: &str, text: &str) {
        self.findings.push(Finding::Note {
            name: name.to_owned(),
            text: text.to_owned(),
        });
    }

    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let mut heading = true;
        for finding in &self.findings {
            if let Finding::Distribution { name, histogram } = finding {
                if std::mem::take(&mut heading) {
                    writeln!(
                        out,
                        "{:<40} {:>10} {:>10} {:>10} {:>10} {:>12}",
                        "nanoseconds", "p50", "p99", "p99.9", "p99.99", "max"
                    )?;
                }
                let [p50, p99, p999, p9999, max] = percentiles(histogram);
                writeln!(
                    out,
                    "{name:<40} {p50:>10} {p99:>10} {p999:>10} {p9999:>10} {max:>12}"
                )?;
            }
        }
        writeln!(out)?;
        for finding in &self.findings {
            match finding {
                Finding::Distribution { .. } => {}
                Finding::Value {
                    name,
                    value,
                    unit,
                    aim,
                } => {
                    let aim = aim.map_or(String::new(), |aim| verdict(*value >= aim, "least", aim));
                    writeln!(out, "{name:<40} {value:>10.2} {unit:<18} {aim}")?;
                }
                Finding::Bounded {
                    name,
                    value,
                    unit,
                    most,
                } => {
                    let aim = verdict(*value <= *most, "most", *most);
                    writeln!(out, "{name:<40} {value:>10.2} {unit:<18} {aim}")?;
                }
                Finding::Ratio {
                    name,
                    quantile,
                    own,
                    floor,
                    most,
                } => {
                    let ratio = *own as f64 / *floor as f64;
                    let aim =
                        most.map_or(String::new(), |most| verdict(ratio <= most, "most", most));
                    let what = format!("times floor, p{}", quantile * 100.0);
                    writeln!(out, "{name:<40} {ratio:>10.2} {what:<18} {aim}")?;
                }
                Finding::Note { name, text } => writeln!(out, "{name:<40} {text}")?,
            }
        }
        Ok(())
    }

    /// One JSON object a finding.
    #[must_use]
    pub fn json(&self) -> Vec<serde_json::Value> {
        let object = |finding: &Finding| match finding {
            Finding::Value {
                name,
                value,
                unit,
                aim,
            } => {
                json!({"name": name, "value": value, "unit": unit, "aim": aim})
            }
            Finding::Bounded {
                name,
                value,
                unit,
                most,
            } => {
                json!({"name": name, "value": value, "unit": unit, "most": most})
            }
            Finding::Distribution { name, histogram } => {
                let [p50, p99, p999, p9999, max] = percentiles(histogram);
                json!({
                    "name": name, "unit": "ns", "count": histogram.len(), "p50": p50,
                    "p99": p99, "p999": p999, "p9999": p9999, "max": max,
                })
            }
            Finding::Ratio {
                name,
                quantile,
                own,
                floor,
                most,
            } => json!({
                "name": name, "quantile": quantile, "value_ns": own, "floor_ns": floor,
                "ratio": *own as f64 / *floor as f64, "aim": most,
            }),
            Finding::Note { name, text } => json!({"name": name, "note": text}),
        };
        self.findings.iter().map(object).collect()
    }

    /// Writes each distribution as an HdrHistogram interval log.
    ///
    /// # Errors
    /// What the system says of the folder or a file.
    pub fn write_histograms(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        for finding in &self.findings {
            let Finding::Distribution { name, histogram } = finding else {
                continue;
            };
            let file: String = name
                .chars()
                .map(|letter| {
                    if letter.is_ascii_alphanumeric() {
                        letter
                    } else {
                        '-'
                    }
                })
                .collect();
            let mut output = BufWriter::new(File::create(folder.join(format!("{file}.hlog")))?);
            let mut serializer = V2DeflateSerializer::new();
            let mut log = IntervalLogWriterBuilder::new()
                .with_start_time(SystemTime::now())
                .begin_log_with(&mut output, &mut serializer)?;
            let write =
                log.write_histogram(histogram, Duration::ZERO, Duration::from_secs(1), None);
            write.map_err(|error| anyhow::anyhow!("{name}: {error:?}"))?;
        }
        Ok(())
    }
}

fn verdict(reached: bool, word: &str, aim: f64) -> String {
    let answer = if reached { "reached" } else { "MISSED" };
    format!("aim: at {word} {aim}, {answer}")
}
