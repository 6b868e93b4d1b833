//! Kubernetes' quantities, as far as telling whether two texts name the same amount.

use std::str::FromStr;

/// An amount in thousandths, so that `100m` has a whole value.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Quantity(i128);

/// The text is no quantity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a quantity such as 500m, 1.5 or 2Gi")]
pub struct QuantityError;

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let thousandths: i128 = match suffix {
            "m" => 1,
            "" => 1000,
            "k" => 1_000_000,
            "M" => 1_000_000_000,
            "G" => 1_000_000_000_000,
            "T" => 1_000_000_000_000_000,
            "P" => 1_000_000_000_000_000_000,
            "E" => 1_000_000_000_000_000_000_000,
            "Ki" => 1000 << 10,
            "Mi" => 1000 << 20,
            "Gi" => 1000 << 30,
            "Ti" => 1000 << 40,
            "Pi" => 1000 << 50,
            "Ei" => 1000 << 60,
            _ => return Err(QuantityError),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // Nine digits each side of the point keep every product far inside 128 bits.
        if whole.is_empty() && fraction.is_empty()
            || whole.len() > 15
            || fraction.len() > 9
            || fraction.contains('.')
        {
            return Err(QuantityError);
        }
        let mut amount = if whole.is_empty() {
            0
        } else {
            whole.parse::<i128>().map_err(|_| QuantityError)? * thousandths
        };
        let mut unit = thousandths;
        for digit in fraction.bytes() {
            unit /= 10;
            amount += i128::from(digit - b'0') * unit;
        }
        Ok(Self(amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_an_amount_are_equal() {
        for (left, right) in
            [("1000m", "1"), ("0.5", "500m"), ("1Gi", "1024Mi"), ("1.5Gi", "1536Mi"), ("2k", "2000")]
        {
            assert_eq!(left.parse::<Quantity>().unwrap(), right.parse().unwrap(), "{left} {right}");
        }
        assert!("1Gi".parse::<Quantity>().unwrap() > "1G".parse().unwrap());
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", ".", "Gi", "-1", "1gi", "1.2.3", "1 Gi", "9999999999999999999999"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError), "{text}");
        }
    }
}
