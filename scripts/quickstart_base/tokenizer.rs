//! Trains the byte-level BPE tokenizers of the base models and writes them as Hugging Face does.

use std::error::Error;
use std::path::Path;

use serde_json::json;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

/// Starts every text, as in LLaMA.
pub const BEGIN: &str = "<|begin|>";
/// Ends a page of the corpus and an answer.
pub const END: &str = "<|end|>";
/// Starts an answer of the T5, as in T5.
pub const PAD: &str = "<pad>";
/// Ends a source and an answer of the T5.
pub const T5_END: &str = "</s>";
/// What stands in the place of spans that were taken out; a text of 512 tokens has 26.
const SENTINELS: usize = 32;
/// Who speaks; the base model never sees these.
const ROLES: [&str; 3] = ["<|system|>", "<|user|>", "<|assistant|>"];

/// One turn is `<|user|>text<|end|>`; the answer and its end are what is learned.
const CHAT_TEMPLATE: &str = concat!(
    "{{ bos_token }}{% for message in messages %}",
    "{{ '<|' + message['role'] + '|>' }}",
    "{% if message['role'] == 'assistant' %}",
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}",
    "{% else %}{{ message['content'] + eos_token }}{% endif %}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
);

/// Trains on `texts` and writes `tokenizer.json` and `tokenizer_config.json` into `folder`.
pub fn train(
    texts: impl Iterator<Item = String> + Send,
    vocabulary: usize,
    folder: &Path,
) -> Result<Tokenizer, Box<dyn Error + Send + Sync>> {
    let mut bpe = bpe(texts, vocabulary, &[BEGIN, END, ROLES[0], ROLES[1], ROLES[2]])?;
    let begin = bpe.token_to_id(BEGIN).expect("a special token has an id");
    bpe.with_post_processor(Some(
        TemplateProcessing::builder()
            .try_single(format!("{BEGIN} $A"))?
            .try_pair(format!("{BEGIN} $A {BEGIN} $B"))?
            .special_tokens(vec![(BEGIN, begin)])
            .build()?,
    ));
    bpe.save(folder.join("tokenizer.json"), true)?;

    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "additional_special_tokens": ROLES,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": false,
        "chat_template": CHAT_TEMPLATE,
    });
    let config = serde_json::to_string_pretty(&config)? + "\n";
    std::fs::write(folder.join("tokenizer_config.json"), config)?;
    Ok(bpe)
}

/// The same for the T5, whose sentinels are the last of the vocabulary, `<extra_id_0>` the very last.
pub fn train_t5(
    texts: impl Iterator<Item = String> + Send,
    vocabulary: usize,
    folder: &Path,
) -> Result<Tokenizer, Box<dyn Error + Send + Sync>> {
    let mut bpe = bpe(texts, vocabulary - SENTINELS, &[PAD, T5_END])?;
    let sentinels = (0..SENTINELS).rev().map(|number| format!("<extra_id_{number}>"));
    let sentinels: Vec<String> = sentinels.collect();
    bpe.add_special_tokens(sentinels.iter().map(|token| AddedToken::from(token.clone(), true)))?;
    let end = bpe.token_to_id(T5_END).expect("a special token has an id");
    bpe.with_post_processor(Some(
        TemplateProcessing::builder()
            .try_single(format!("$A {T5_END}"))?
            .try_pair(format!("$A {T5_END} $B {T5_END}"))?
            .special_tokens(vec![(T5_END, end)])
            .build()?,
    ));
    bpe.save(folder.join("tokenizer.json"), true)?;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": T5_END,
        "pad_token": PAD,
        "additional_special_tokens": sentinels,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": false,
    });
    let config = serde_json::to_string_pretty(&config)? + "\n";
    std::fs::write(folder.join("tokenizer_config.json"), config)?;
    Ok(bpe)
}

/// Byte-level BPE over `texts`, with `special` tokens first.
fn bpe(
    texts: impl Iterator<Item = String> + Send,
    vocabulary: usize,
    special: &[&str],
) -> Result<Tokenizer, Box<dyn Error + Send + Sync>> {
    let trainer = BpeTrainer::builder()
        .vocab_size(vocabulary)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.iter().map(|token| AddedToken::from(*token, true)).collect())
        .build();
    let mut bpe = Tokenizer::new(BPE::default());
    // As in LLaMA, a text begins with a space that is not there: the first word of an answer is
    // then the same token as inside a sentence. Digits stand alone: a sum is one small task for
    // every number.
    bpe.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(true, false, true)),
        PreTokenizerWrapper::Digits(Digits::new(true)),
    ])));
    bpe.with_decoder(Some(DecoderSequence::new(vec![
        DecoderWrapper::ByteLevel(ByteLevel::default()),
        DecoderWrapper::Strip(Strip::new(' ', 1, 0)),
    ])));
    bpe.train(&mut TrainerWrapper::from(trainer), texts)?;
    Ok(bpe)
}
