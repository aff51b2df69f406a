//! Which weights are trained: patterns over the names of the checkpoint's tensors.

/// Whether `name` fits `pattern`, in which `*` stands for any text and `?` for one character.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            let mut starts = name.char_indices().map(|(start, _)| start).chain([name.len()]);
            starts.any(|start| fits(rest, &name[start..]))
        }
        Some(first) => {
            let mut characters = name.chars();
            let next = characters.next();
            let same = next.is_some_and(|next| first == '?' || first == next);
            same && fits(&pattern[first.len_utf8()..], characters.as_str())
        }
    }
}

/// Whether a tensor is trained: it fits a pattern of `train_only`, if there are any, and none of
/// `freeze`.
pub(crate) fn is_trained(name: &str, freeze: &[String], train_only: &[String]) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, name));
    (train_only.is_empty() || any(train_only)) && !any(freeze)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_a_pattern_covers_the_whole_name() {
        let name = "model.layers.11.mlp.up_proj.weight";
        for pattern in
            [name, "*", "*.mlp.*", "model.layers.11.*", "*up_proj*", "model.layers.?1.*t"]
        {
            assert!(fits(pattern, name), "{pattern}");
        }
        for pattern in ["", "mlp", "model.layers.1.*", "*.mlp", "model.layers.?.*", "*.weight?"] {
            assert!(!fits(pattern, name), "{pattern}");
        }
        assert!(fits("ä?*", "äöü") && fits("**", "") && !fits("?", ""));
    }

    #[test]
    fn freeze_wins_over_train_only() {
        let list = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect::<Vec<_>>();
        let trained = |name| is_trained(name, &list(&["*.norm.*"]), &list(&["model.*"]));
        assert!(trained("model.layers.0") && !trained("model.norm.weight") && !trained("lm_head"));
        assert!(is_trained("lm_head", &[], &[]));
    }
}
