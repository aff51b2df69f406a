//! Numbers in English words, as `num2words` writes them.

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const POWERS: [(u32, &str); 3] =
    [(1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand")];

/// A number in words: `one thousand, two hundred and thirty-four`.
pub(super) fn words(number: u32) -> String {
    if let Some(&(power, name)) = POWERS.iter().find(|(power, _)| number >= *power) {
        let (count, rest) = (words(number / power), number % power);
        return match rest {
            0 => format!("{count} {name}"),
            1..100 => format!("{count} {name} and {}", words(rest)),
            _ => format!("{count} {name}, {}", words(rest)),
        };
    }
    match number {
        0..20 => SMALL[number as usize].to_owned(),
        20..100 if number.is_multiple_of(10) => TENS[number as usize / 10].to_owned(),
        20..100 => format!("{}-{}", TENS[number as usize / 10], words(number % 10)),
        _ if number.is_multiple_of(100) => format!("{} hundred", words(number / 100)),
        _ => format!("{} hundred and {}", words(number / 100), words(number % 100)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // from num2words import num2words; num2words(n)
    #[test]
    fn words_are_those_of_num2words() {
        let pairs = [
            (0, "zero"),
            (14, "fourteen"),
            (20, "twenty"),
            (21, "twenty-one"),
            (100, "one hundred"),
            (342, "three hundred and forty-two"),
            (1001, "one thousand and one"),
            (1100, "one thousand, one hundred"),
            (10_000, "ten thousand"),
            (123_456, "one hundred and twenty-three thousand, four hundred and fifty-six"),
            (1_000_001, "one million and one"),
        ];
        for (number, expected) in pairs {
            assert_eq!(words(number), expected);
        }
    }
}
