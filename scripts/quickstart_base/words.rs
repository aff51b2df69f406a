//! The word tables in `words/`: one row a line, cells between bars, comments behind `#`.

/// The cells of one line.
pub type Cells = Vec<&'static str>;

/// Every table, read once.
pub struct Words {
    pub adjectives: Vec<Cells>,
    pub animals: Vec<Cells>,
    pub colours: Vec<Cells>,
    pub countries: Vec<Cells>,
    pub facts: Vec<Cells>,
    pub jobs: Vec<Cells>,
    pub materials: Vec<Cells>,
    pub names: Vec<Cells>,
    pub nouns: Vec<Cells>,
    pub opposites: Vec<Cells>,
    pub sequences: Vec<Cells>,
    pub uses: Vec<Cells>,
    pub verbs: Vec<Cells>,
}

impl Words {
    /// Reads all tables; a row of the wrong width is a mistake in a table, named in the panic.
    pub fn read() -> Self {
        Self {
            adjectives: table(include_str!("words/adjectives.txt"), 3),
            animals: table(include_str!("words/animals.txt"), 4),
            colours: table(include_str!("words/colours.txt"), 2),
            countries: table(include_str!("words/countries.txt"), 3),
            facts: table(include_str!("words/facts.txt"), 3),
            jobs: table(include_str!("words/jobs.txt"), 3),
            materials: table(include_str!("words/materials.txt"), 2),
            names: table(include_str!("words/names.txt"), 2),
            nouns: table(include_str!("words/nouns.txt"), 3),
            opposites: table(include_str!("words/opposites.txt"), 2),
            sequences: table(include_str!("words/sequences.txt"), 0),
            uses: table(include_str!("words/uses.txt"), 2),
            verbs: table(include_str!("words/verbs.txt"), 5),
        }
    }
}

/// The rows of a table; `width` 0 takes any width.
fn table(text: &'static str, width: usize) -> Vec<Cells> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let rows: Vec<Cells> = lines.map(|line| line.split('|').map(str::trim).collect()).collect();
    for row in &rows {
        assert!(width == 0 || row.len() == width, "found {row:?}, wanted {width} cells");
    }
    rows
}

/// The word with `a` or `an` before it; names that begin with a vowel letter sound like one here.
pub fn with_article(word: &str) -> String {
    let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u']);
    if vowel { format!("an {word}") } else { format!("a {word}") }
}

/// The text with its first letter in upper case.
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// A number from 0 to 100 in words: `forty-two`.
pub fn number_in_words(number: usize) -> String {
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
    match (number / 10, number % 10) {
        (0 | 1, _) => SMALL[number].to_owned(),
        (10, _) => "one hundred".to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens], SMALL[ones]),
    }
}
