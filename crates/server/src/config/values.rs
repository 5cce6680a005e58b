//! Options' values: switches, numbers and Go's durations.

use super::ConfigError;
use super::flags::Given;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

pub(super) fn is_set(given: &Given, name: &'static str) -> Result<bool, ConfigError> {
    match given.get(name).map(String::as_str) {
        None | Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some(value) => {
            Err(ConfigError::BadValue { name, value: value.to_owned(), expected: "true or false" })
        }
    }
}

pub(super) fn number<T: FromStr>(
    given: &Given,
    name: &'static str,
    default: T,
    expected: &'static str,
) -> Result<T, ConfigError> {
    match given.get(name) {
        None => Ok(default),
        Some(value) => value.parse().map_err(|_| ConfigError::BadValue {
            name,
            value: value.clone(),
            expected,
        }),
    }
}

/// A number within bounds, if one is given.
pub(super) fn within(
    given: &Given,
    name: &'static str,
    bounds: RangeInclusive<u32>,
    expected: &'static str,
) -> Result<Option<u32>, ConfigError> {
    let Some(value) = given.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let number = value.parse().ok().filter(|number| bounds.contains(number));
    let bad = || ConfigError::BadValue { name, value: value.clone(), expected };
    number.map(Some).ok_or_else(bad)
}

pub(super) fn millis(
    given: &Given,
    name: &'static str,
    default: u64,
) -> Result<Duration, ConfigError> {
    number(given, name, default, "a number of milliseconds").map(Duration::from_millis)
}

/// A duration as Go writes it (`1m30s`, `500ms`).
pub(super) fn duration(
    given: &Given,
    name: &'static str,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(text) = given.get(name) else { return Ok(default) };
    parse_duration(text).ok_or_else(|| ConfigError::BadValue {
        name,
        value: text.clone(),
        expected: "a duration such as 500ms, 10s, 5m or 1h30m",
    })
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (count, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += count.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(sum).ok() }
}
