//! The group that each subject of MMLU is counted under.

/// The four groups, and what is in them; every other subject is in the last.
const GROUPS: [(&str, &[&str]); 3] = [
    (
        "STEM",
        &[
            "abstract_algebra",
            "astronomy",
            "college_biology",
            "college_chemistry",
            "college_computer_science",
            "college_mathematics",
            "college_physics",
            "computer_security",
            "conceptual_physics",
            "electrical_engineering",
            "elementary_mathematics",
            "high_school_biology",
            "high_school_chemistry",
            "high_school_computer_science",
            "high_school_mathematics",
            "high_school_physics",
            "high_school_statistics",
            "machine_learning",
        ],
    ),
    (
        "humanities",
        &[
            "formal_logic",
            "high_school_european_history",
            "high_school_us_history",
            "high_school_world_history",
            "international_law",
            "jurisprudence",
            "logical_fallacies",
            "moral_disputes",
            "moral_scenarios",
            "philosophy",
            "prehistory",
            "professional_law",
            "world_religions",
        ],
    ),
    (
        "social sciences",
        &[
            "econometrics",
            "high_school_geography",
            "high_school_government_and_politics",
            "high_school_macroeconomics",
            "high_school_microeconomics",
            "high_school_psychology",
            "human_sexuality",
            "professional_psychology",
            "public_relations",
            "security_studies",
            "sociology",
            "us_foreign_policy",
        ],
    ),
];

/// The group of a subject.
pub(super) fn group(subject: &str) -> &'static str {
    let found = GROUPS.iter().find(|(_, subjects)| subjects.contains(&subject));
    found.map_or("other", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_have_as_many_subjects_as_the_benchmark_says() {
        let counts = GROUPS.map(|(_, subjects)| subjects.len());
        // With the 14 others, 57.
        assert_eq!(counts, [18, 13, 12]);
        assert_eq!(group("anatomy"), "other");
    }
}
