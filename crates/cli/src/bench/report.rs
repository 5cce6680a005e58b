//! What `bench` prints, while it runs and at the end.

use super::snapshots::DuringSnapshots;
use super::{BenchArguments, Tally};
use crate::failure::Failure;
use crate::output::{Table, print, print_json};
use clap::ValueEnum as _;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// A line on the terminal that says how far it is; silent elsewhere.
pub(crate) struct Progress {
    enabled: bool,
    total: Duration,
    shown: bool,
}

const BAR_WIDTH: usize = 30;

impl Progress {
    pub(crate) fn new(json: bool, total: Duration) -> Self {
        Self { enabled: !json && std::io::stderr().is_terminal(), total, shown: false }
    }

    pub(crate) fn show(&mut self, elapsed: Duration, operations: u64) {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let total = self.total.as_secs_f64();
        let rate = operations as f64 / seconds;
        self.line(seconds / total, &format!("{seconds:.0} of {total} s, {rate:.0} ops/s"));
    }

    pub(crate) fn show_load(&mut self, done: u64, of: u64) {
        self.line(done as f64 / of as f64, &format!("loading: {done} of {of} keys"));
    }

    fn line(&mut self, share: f64, text: &str) {
        if !self.enabled {
            return;
        }
        let filled = (share.clamp(0.0, 1.0) * BAR_WIDTH as f64) as usize;
        let bar = "#".repeat(filled) + &".".repeat(BAR_WIDTH - filled);
        // A terminal that is gone is no reason to stop measuring.
        let _ = write!(std::io::stderr(), "\r[{bar}] {text}\x1b[K");
        self.shown = true;
    }

    /// Leaves the terminal as it was.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The figures of one run.
pub(crate) struct Report {
    what: String,
    clients: u32,
    connections: u32,
    value_bytes: usize,
    seconds: f64,
    tally: Tally,
    cpu: Vec<(u32, f64)>,
}

impl Report {
    pub(crate) fn new(
        arguments: &BenchArguments,
        connections: u32,
        tally: Tally,
        cpu: &[(u32, Duration)],
    ) -> Self {
        let operations = tally.latencies_us.len().max(1) as f64;
        let per_operation =
            |(pid, used): &(u32, Duration)| (*pid, used.as_micros() as f64 / operations);
        let workload = arguments.workload.to_possible_value();
        Self {
            what: workload.map_or_else(String::new, |value| value.get_name().to_owned()),
            clients: arguments.clients,
            connections,
            value_bytes: arguments.value_size,
            seconds: arguments.seconds.as_secs_f64(),
            cpu: cpu.iter().map(per_operation).collect(),
            tally,
        }
    }

    /// Prints it; a run in which nothing succeeded has failed.
    pub(crate) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            print_json(&self.json())?;
        } else {
            print(&self.text())?;
        }
        if self.tally.latencies_us.is_empty() {
            let error = self.tally.errors.keys().next();
            let error = error.map_or("no request was answered in time", String::as_str);
            return Err(Failure::new(format!("bench: nothing succeeded: {error}")));
        }
        Ok(())
    }

    fn operations_per_second(&self) -> f64 {
        self.tally.latencies_us.len() as f64 / self.seconds
    }

    fn cpu_us_per_operation(&self) -> f64 {
        self.cpu.iter().map(|(_, us)| us).sum()
    }

    fn errors(&self) -> u64 {
        self.tally.errors.values().sum()
    }

    fn text(&self) -> String {
        let Tally { latencies_us: us, reads, misses, errors, .. } = &self.tally;
        let Self { what, clients, connections, value_bytes, seconds, .. } = self;
        let mut text = format!(
            "{what}, values of {value_bytes} bytes, {clients} clients on {connections} \
             connections, {seconds} s\n\n"
        );
        let mut table = Table::without_headings();
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("operations", us.len().to_string());
        row("throughput", format!("{:.0} ops/s", self.operations_per_second()));
        for (name, quantile) in QUANTILES {
            row(name, format!("{} µs", us.value_at_quantile(quantile)));
        }
        row("max", format!("{} µs", us.max()));
        if !self.cpu.is_empty() {
            let each: Vec<String> =
                self.cpu.iter().map(|(pid, us)| format!("{pid}: {us:.1}")).collect();
            let total = self.cpu_us_per_operation();
            row("server CPU", format!("{total:.1} µs per operation ({})", each.join(", ")));
        }
        if *misses > 0 {
            row("misses", format!("{misses} of {reads} reads found no key; --load writes all"));
        }
        text.push_str(&table.render("  "));
        if let Some(during) = &self.tally.during_snapshots {
            text.push_str(&snapshots_text(during));
        }
        for (error, count) in errors {
            writeln!(text, "  FAILED {count} times: {error}").expect("a String takes everything");
        }
        if !us.is_empty() {
            text.push('\n');
            text.push_str(&bars(us));
        }
        text
    }

    fn json(&self) -> Value {
        let us = &self.tally.latencies_us;
        let mut object = json!({
            "workload": self.what,
            "clients": self.clients,
            "connections": self.connections,
            "value_bytes": self.value_bytes,
            "seconds": self.seconds,
            "operations": us.len(),
            "operations_per_second": self.operations_per_second(),
            "errors": self.errors(),
            "reads": self.tally.reads,
            "misses": self.tally.misses,
            "mean_us": us.mean(),
            "max_us": us.max(),
        });
        for (name, quantile) in QUANTILES {
            object[json_name(name)] = us.value_at_quantile(quantile).into();
        }
        if let Some(during) = &self.tally.during_snapshots {
            object["snapshots_begun"] = during.begun.into();
            object["during_snapshots"] = latencies_json(&during.latencies_us);
            object["otherwise"] = latencies_json(&during.otherwise_us);
        }
        if !self.cpu.is_empty() {
            object["server_cpu_us_per_operation"] = self.cpu_us_per_operation().into();
            let each = self.cpu.iter().map(|(pid, us)| (pid.to_string(), Value::from(*us)));
            object["server_cpu_us_per_operation_by_pid"] = Value::Object(each.collect());
        }
        object
    }
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

fn json_name(quantile: &str) -> String {
    format!("{}_us", quantile.replace('.', ""))
}

fn latencies_json(us: &Histogram<u64>) -> Value {
    let mut object = json!({ "operations": us.len(), "max_us": us.max() });
    for (name, quantile) in QUANTILES {
        object[json_name(name)] = us.value_at_quantile(quantile).into();
    }
    object
}

fn snapshots_text(during: &DuringSnapshots) -> String {
    let headings = ["", "OPERATIONS", "P50", "P90", "P99", "P99.9", "MAX"];
    let mut table = Table::new(headings);
    let begun = format!("while a snapshot was written ({} begun)", during.begun);
    for (name, us) in [(begun.as_str(), &during.latencies_us), ("otherwise", &during.otherwise_us)]
    {
        let [p50, p90, p99, p999] =
            QUANTILES.map(|(_, quantile)| format!("{} µs", us.value_at_quantile(quantile)));
        let (count, max) = (us.len().to_string(), format!("{} µs", us.max()));
        table.row([name.to_owned(), count, p50, p90, p99, p999, max]);
    }
    format!("\n{}", table.render("  "))
}

/// How many requests took how long, in steps of doubling.
fn bars(us: &Histogram<u64>) -> String {
    const WIDTH: u64 = 40;
    let mut steps = Vec::new();
    let mut from = 0;
    let mut until = 64;
    while from <= us.max() {
        steps.push((from, until, us.count_between(from, until - 1)));
        (from, until) = (until, until * 2);
    }
    let first = steps.iter().position(|(_, _, count)| *count > 0).unwrap_or(0);
    let most = steps.iter().map(|(_, _, count)| *count).max().unwrap_or(0).max(1);
    let mut text = String::new();
    for (from, until, count) in &steps[first..] {
        let bar = "#".repeat((count * WIDTH).div_ceil(most) as usize);
        let from = format!("{from} to {until} µs");
        writeln!(text, "  {from:>22} {count:>10} {bar}").expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::bars;
    use hdrhistogram::Histogram;

    #[test]
    fn bars_begin_and_end_with_what_there_is() {
        let mut us = Histogram::<u64>::new(3).unwrap();
        us.record_n(130, 30).unwrap();
        us.record(300).unwrap();
        let text = bars(&us);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0], format!("128 to 256 µs         30 {}", "#".repeat(40)));
        assert_eq!(lines[1], "256 to 512 µs          1 ##");
    }
}
