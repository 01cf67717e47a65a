//! Durations and sizes as people write them in configuration: `"10s"`, `"64KiB"`.

use std::fmt;
use std::time::Duration;

/// A text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// It does not start with a whole number.
    #[error("`{text}` is no {kind}: write a whole number and a unit, for example `{example}`")]
    NoNumber {
        /// What was read.
        text: String,
        /// What it should be.
        kind: &'static str,
        /// How one looks.
        example: &'static str,
    },
    /// Only a number.
    #[error("`{text}` has no unit: write `{text}{}` (units: {})", .units.first().unwrap_or(&""), .units.join(", "))]
    NoUnit {
        /// What was read.
        text: String,
        /// The units there are, the most likely first.
        units: &'static [&'static str],
    },
    /// The unit is not known.
    #[error("`{text}` has the unknown unit `{unit}` (units: {})", .units.join(", "))]
    UnknownUnit {
        /// What was read.
        text: String,
        /// The unit in it.
        unit: String,
        /// The units there are, the most likely first.
        units: &'static [&'static str],
    },
    /// The number does not fit.
    #[error("`{text}` is too large")]
    TooLarge {
        /// What was read.
        text: String,
    },
}

/// The units of durations.
const DURATIONS: &[&str] = &["s", "ms", "us", "m", "h", "d"];
/// The units of sizes.
const SIZES: &[&str] = &["KiB", "B", "MiB", "GiB"];

fn split(
    text: &str,
    kind: &'static str,
    example: &'static str,
    units: &'static [&'static str],
    factor: fn(&str) -> Option<u64>,
) -> Result<u64, InvalidUnit> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(end);
    let text = || trimmed.to_owned();
    match (digits, unit.trim()) {
        ("", _) => Err(InvalidUnit::NoNumber { text: text(), kind, example }),
        ("0", "") => Ok(0),
        (_, "") => Err(InvalidUnit::NoUnit { text: text(), units }),
        (digits, unit) => {
            let factor =
                factor(unit).ok_or_else(|| InvalidUnit::UnknownUnit { text: text(), unit: unit.to_owned(), units })?;
            let number: Option<u64> = digits.parse().ok();
            number.and_then(|n| n.checked_mul(factor)).ok_or_else(|| InvalidUnit::TooLarge { text: text() })
        }
    }
}

/// Reads a duration: a whole number and one of `us`, `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// A text of another form, with what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    split(text, "duration", "10s", DURATIONS, |unit| match unit {
        "us" => Some(1),
        "ms" => Some(1_000),
        "s" => Some(1_000_000),
        "m" => Some(60_000_000),
        "h" => Some(3_600_000_000),
        "d" => Some(86_400_000_000),
        _ => None,
    })
    .map(Duration::from_micros)
}

/// Reads a size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
///
/// # Errors
/// A text of another form, with what to write instead.
pub fn parse_size(text: &str) -> Result<usize, InvalidUnit> {
    let bytes = split(text, "size", "64KiB", SIZES, |unit| match unit {
        "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    })?;
    usize::try_from(bytes).map_err(|_| InvalidUnit::TooLarge { text: text.to_owned() })
}

fn largest(value: u128, units: &[(u128, &str)], smallest: &str) -> String {
    match units.iter().find(|(factor, _)| value != 0 && value.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", value / factor),
        None => format!("{value}{smallest}"),
    }
}

/// Writes a duration in the form that [`parse_duration`] reads; what is below a microsecond is cut.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    const UNITS: &[(u128, &str)] =
        &[(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
    if duration.is_zero() { "0s".to_owned() } else { largest(duration.as_micros(), UNITS, "us") }
}

/// Writes a size in the form that [`parse_size`] reads.
#[must_use]
pub fn format_size(bytes: usize) -> String {
    largest(bytes as u128, &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")], "B")
}

struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, InvalidUnit>,
}

impl<T> serde::de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

/// For `#[serde(with = "units::duration")]`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::{Text, format_duration, parse_duration};

    /// Writes a duration as text.
    ///
    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    /// Reads a duration from text.
    ///
    /// # Errors
    /// What is no duration, with what to write instead.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(Text { expected: "a duration such as \"10s\"", parse: parse_duration })
    }
}

/// For `#[serde(with = "units::duration_or_never")]`: a duration that may be without end.
pub mod duration_or_never {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::{InvalidUnit, Text, format_duration, parse_duration};

    const NEVER: &str = "never";

    /// Writes a duration as text, or `never`.
    ///
    /// # Errors
    /// What the serializer says.
    #[allow(clippy::ref_option, reason = "serde calls it with a reference")]
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&format_duration(*duration)),
            None => serializer.serialize_str(NEVER),
        }
    }

    fn parse(text: &str) -> Result<Option<Duration>, InvalidUnit> {
        if text.trim() == NEVER { Ok(None) } else { parse_duration(text).map(Some) }
    }

    /// Reads a duration from text, or `never`.
    ///
    /// # Errors
    /// What is neither, with what to write instead.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_str(Text { expected: "a duration such as \"10s\", or \"never\"", parse })
    }
}

/// For `#[serde(with = "units::size")]`.
pub mod size {
    use serde::{Deserializer, Serializer};

    use super::{Text, format_size, parse_size};

    /// Writes a size as text.
    ///
    /// # Errors
    /// What the serializer says.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub fn serialize<S: Serializer>(bytes: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size(*bytes))
    }

    /// Reads a size from text.
    ///
    /// # Errors
    /// What is no size, with what to write instead.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(Text { expected: "a size such as \"64KiB\"", parse: parse_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        #[track_caller]
        fn check(text: &str, expected: Result<Duration, &str>) {
            assert_eq!(parse_duration(text).map_err(|e| e.to_string()), expected.map_err(str::to_owned));
        }
        check("10s", Ok(Duration::from_secs(10)));
        check(" 250 ms ", Ok(Duration::from_millis(250)));
        check("2h", Ok(Duration::from_hours(2)));
        check("0", Ok(Duration::ZERO));
        check("10", Err("`10` has no unit: write `10s` (units: s, ms, us, m, h, d)"));
        check("10 sec", Err("`10 sec` has the unknown unit `sec` (units: s, ms, us, m, h, d)"));
        check("soon", Err("`soon` is no duration: write a whole number and a unit, for example `10s`"));
        check("-1s", Err("`-1s` is no duration: write a whole number and a unit, for example `10s`"));
        check("99999999999999999999d", Err("`99999999999999999999d` is too large"));
    }

    #[test]
    fn sizes() {
        #[track_caller]
        fn check(text: &str, expected: Result<usize, &str>) {
            assert_eq!(parse_size(text).map_err(|e| e.to_string()), expected.map_err(str::to_owned));
        }
        check("64KiB", Ok(65_536));
        check("1 MiB", Ok(1 << 20));
        check("7B", Ok(7));
        check("64", Err("`64` has no unit: write `64KiB` (units: KiB, B, MiB, GiB)"));
        check("64kb", Err("`64kb` has the unknown unit `kb` (units: KiB, B, MiB, GiB)"));
        check("18446744073709551615GiB", Err("`18446744073709551615GiB` is too large"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for micros in [0, 1, 999, 1_000, 1_500_000, 60_000_000, 90_000_000, 3_600_000_000, 86_400_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 1536, 1 << 20, 1 << 30] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }
}
