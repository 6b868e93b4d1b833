//! Kubernetes' quantities, as far as telling whether two texts name the same amount.

use std::str::FromStr;

/// An amount in billionths, the smallest unit that Kubernetes knows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Quantity(i128);

/// The text is no quantity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a quantity such as 500m, 1.5 or 2Gi")]
pub struct QuantityError;

/// Billionths in one.
const ONE: i128 = 1_000_000_000;

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let unit = unit(suffix).ok_or(QuantityError)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(QuantityError);
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| QuantityError)? };
        let mut amount = whole.checked_mul(unit).ok_or(QuantityError)?;
        let mut unit = unit;
        for digit in fraction.bytes() {
            unit /= 10;
            amount = amount.checked_add(i128::from(digit - b'0') * unit).ok_or(QuantityError)?;
        }
        Ok(Self(amount))
    }
}

/// The billionths that a suffix stands for: decimal, binary, or an exponent.
fn unit(suffix: &str) -> Option<i128> {
    let decimal = |power: u32| 10_i128.checked_pow(power);
    let binary = |power: u32| 1024_i128.checked_pow(power)?.checked_mul(ONE);
    match suffix {
        "n" => decimal(0),
        "u" => decimal(3),
        "m" => decimal(6),
        "" => decimal(9),
        "k" => decimal(12),
        "M" => decimal(15),
        "G" => decimal(18),
        "T" => decimal(21),
        "P" => decimal(24),
        "E" => decimal(27),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            decimal(u32::try_from(exponent.checked_add(9)?).ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_an_amount_are_equal() {
        for (left, right) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1Gi", "1024Mi"),
            ("1.5Gi", "1536Mi"),
            ("2k", "2000"),
            ("1e3", "1k"),
            ("129E6", "129M"),
            ("5e-1", "500m"),
            ("100u", "0.1m"),
            ("+1", "1"),
            ("1E", "1000P"),
        ] {
            assert_eq!(left.parse::<Quantity>().unwrap(), right.parse().unwrap(), "{left} {right}");
        }
        assert!("1Gi".parse::<Quantity>().unwrap() > "1G".parse().unwrap());
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", ".", "Gi", "-1", "1gi", "1.2.3", "1 Gi", "1e", "1ex", "1e99", "99999999999999999999E"]
        {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError), "{text}");
        }
    }
}
