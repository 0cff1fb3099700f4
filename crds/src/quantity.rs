//! Conversion between Kubernetes quantities, integers and human-readable sizes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Value of a quantity in its base unit, rounded up as Kubernetes does; `None` if it is not a valid quantity.
///
/// Sub-unit suffixes (`m`, `u`, `n`) round up to the next whole unit. Values beyond `i64` are clamped.
#[must_use]
pub fn parse(quantity: &Quantity) -> Option<i64> {
    parse_text(&quantity.0)
}

/// Value of a text in the syntax of a quantity, as [`parse`] returns it.
#[must_use]
pub fn parse_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (numerator, decimals) = decimal(number)?;
    let (multiplier, divisor): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        other => exponent(other)?,
    };
    let divisor = divisor.checked_mul(10i128.checked_pow(decimals)?)?;
    let value = numerator.checked_mul(multiplier)?;
    let rounded = value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0);
    Some(i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX }))
}

fn decimal(number: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains(['+', '-', '.']) || (whole.trim_start_matches(['+', '-']).is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    Some((digits.parse().ok()?, u32::try_from(fraction.len()).ok()?))
}

fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let scale = 10i128.checked_pow(power.unsigned_abs())?;
    Some(if power < 0 { (1, scale) } else { (scale, 1) })
}

/// Quantity for a number of bytes, in the largest binary unit that divides it evenly.
#[must_use]
pub fn from_bytes(bytes: i64) -> Quantity {
    const UNITS: [(i64, &str); 4] = [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let exact = UNITS.iter().find(|(unit, _)| bytes != 0 && bytes % unit == 0);
    Quantity(exact.map_or_else(
        || bytes.to_string(),
        |(unit, suffix)| format!("{}{suffix}", bytes / unit),
    ))
}

/// Human-readable number of bytes with three significant digits and a binary unit, for example `86.7 MiB`.
#[must_use]
pub fn human_bytes(bytes: i64) -> String {
    let (value, unit) = scaled(bytes);
    match unit {
        "" => format!("{bytes} B"),
        unit => format!("{} {unit}B", three_digits(value)),
    }
}

/// Short number of bytes in Kubernetes notation, rounded down to one decimal, for example `11Gi` or `1.5Gi`.
#[must_use]
pub fn short_bytes(bytes: i64) -> String {
    let (value, unit) = scaled(bytes);
    match unit {
        "" => bytes.to_string(),
        // Rounded down: a free amount must never be shown as more than it is.
        unit => {
            let tenths = (value * 10.0).floor() / 10.0;
            if tenths.fract() == 0.0 {
                format!("{tenths:.0}{unit}")
            } else {
                format!("{tenths:.1}{unit}")
            }
        }
    }
}

fn scaled(bytes: i64) -> (f64, &'static str) {
    let mut value = bytes as f64;
    let mut unit = "";
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    (value, unit)
}

fn three_digits(value: f64) -> String {
    if value.abs() < 9.995 {
        format!("{value:.2}")
    } else if value.abs() < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_parse_as_in_kubernetes() {
        for (text, value) in [
            ("0", Some(0)),
            ("128Mi", Some(134_217_728)),
            ("1.5Gi", Some(1_610_612_736)),
            ("24G", Some(24_000_000_000)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("100m", Some(1)),
            ("1500m", Some(2)),
            ("16Ei", Some(i64::MAX)),
            ("", None),
            ("Gi", None),
            ("1.2.3", None),
            ("1Xi", None),
            ("--1", None),
        ] {
            assert_eq!(parse(&Quantity(text.to_owned())), value, "{text:?}");
        }
    }

    #[test]
    fn bytes_are_formatted_with_units() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(90_868_376), "86.7 MiB");
        assert_eq!(human_bytes(1 << 40), "1.00 TiB");
        assert_eq!(from_bytes(3 << 30).0, "3Gi");
        assert_eq!(from_bytes(1000).0, "1000");
        assert_eq!(short_bytes(3 << 30), "3Gi");
        assert_eq!(short_bytes((3 << 30) - 1), "2.9Gi");
    }
}
