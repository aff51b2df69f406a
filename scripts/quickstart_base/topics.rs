//! All topics, in the order in which their records are numbered.

mod language;
mod letters;
mod lists;
mod numbers;
mod world;

use crate::topic::Topic;
use crate::words::Words;

/// What the base model reads about and the instructions ask for.
pub fn all(words: &Words) -> Vec<Topic<'_>> {
    let mut topics = language::topics(words);
    topics.extend(world::topics(words));
    topics.extend(numbers::topics(words));
    topics.extend(lists::topics(words));
    topics.extend(letters::topics(words));
    topics
}
