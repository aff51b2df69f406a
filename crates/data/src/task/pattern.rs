//! Patterns: text with `{fields}` in it.

use crate::task::item::Item;

/// The field in whose place the answer options stand.
pub(crate) const OPTIONS: &str = "options";

/// A text that was cut at its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

impl Pattern {
    /// Cuts a text at its fields. `{{` and `}}` stand for braces.
    ///
    /// # Errors
    /// What is wrong: a brace that is not closed or not opened, or a name that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain += &rest[..at];
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                (plain, rest) = (plain + brace, after);
                continue;
            }
            let name = rest.split_once('}').filter(|_| brace == "{").map(|(name, after)| {
                rest = after;
                name
            });
            let is_name = |name: &&str| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            let Some(name) = name.filter(is_name) else {
                return Err(format!(
                    "`{brace}` opens no field: a brace itself is `{brace}{brace}`"
                ));
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Field(name.to_owned()));
        }
        pieces.push(Piece::Text(plain + rest));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Self(pieces))
    }

    /// The names of its fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Field(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Whether it shows the answer options.
    pub(crate) fn has_options(&self) -> bool {
        self.fields().any(|field| field == OPTIONS)
    }

    /// The text of an item, its options shown as `options` says; where that is empty, the blank line or
    /// line break before them is left out too. A field that the item does not have is an error.
    pub(crate) fn fill(&self, item: &Item, answer: &str, options: &str) -> Result<String, String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out += text,
                Piece::Field(name) if name == OPTIONS => match options {
                    "" => {
                        let kept = out.strip_suffix("\n\n").or_else(|| out.strip_suffix('\n'));
                        out.truncate(kept.unwrap_or(&out).len());
                    }
                    options => out += options,
                },
                Piece::Field(name) if name == "answer" => out += answer,
                Piece::Field(name) => out += item.get(name).ok_or_else(|| name.clone())?,
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pattern: &str, options: &str) -> String {
        let item = Item { fields: vec![("a".into(), "{b}".into())], ..Item::default() };
        Pattern::parse(pattern).unwrap().fill(&item, "yes", options).unwrap()
    }

    #[test]
    fn fields_are_filled_once_and_braces_in_a_value_stay() {
        assert_eq!(fill("{a} {{a}} {answer}!", ""), "{b} {a} yes!");
    }

    #[test]
    fn without_options_the_break_before_them_goes_too() {
        let filled = ["?\n\n{options}\nA:", "?\n{options}\nA:", "?{options}\nA:"];
        assert_eq!(filled.map(|pattern| fill(pattern, "")), ["?\nA:"; 3]);
        assert_eq!(fill("?\n\n{options}\nA:", "- x"), "?\n\n- x\nA:");
    }

    #[test]
    fn a_brace_that_is_no_field_is_refused() {
        for text in ["{a", "a}", "{}", "{a b}", "{a{b}"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
