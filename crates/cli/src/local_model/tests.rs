//! A local model as the data engine sees it, on a tiny one with random weights.

use std::cell::Cell;
use std::fs;

use albacore_data::{Message, Tokenizer};
use albacore_model::{Llama, LlamaConfig, Model, generate};
use candle_core::Device;
use serde_json::json;

use super::*;

/// A tokenizer whose tokens are bytes, `<|end|>`, which ends a text, and marks of those who speak.
pub(crate) fn letters() -> Tokenizer {
    tokenizer(true)
}

fn tokenizer(chat: bool) -> Tokenizer {
    let mut alphabet: Vec<char> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').collect();
    let rest = 256 - alphabet.len() as u32;
    alphabet.extend((0..rest).filter_map(|index| char::from_u32(256 + index)));
    let special = ["<|end|>", "<|user|>", "<|assistant|>"];
    let names = alphabet.iter().map(char::to_string).chain(special.map(str::to_owned));
    let vocabulary: serde_json::Map<_, _> =
        names.enumerate().map(|(id, name)| (name, json!(id))).collect();
    let added = special.iter().enumerate().map(|(index, name)| {
        json!({ "id": 256 + index, "content": name, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true })
    });
    let added = added.collect::<Vec<_>>();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "pre_tokenizer": bytes,
        "post_processor": null, "decoder": bytes,
        "model": { "type": "BPE", "fuse_unk": false, "byte_fallback": false,
                   "vocab": vocabulary, "merges": [] },
    });
    let template = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\
                    {{ eos_token }}{% endfor %}<|assistant|>";
    let mut config = json!({ "eos_token": "<|end|>" });
    if chat {
        config["chat_template"] = template.into();
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::load(folder.path()).unwrap()
}

fn loaded(chat: bool) -> Loaded {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 259,
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "initializer_range": 0.15,
    });
    let config = LlamaConfig::from_json(config.as_object().unwrap().clone(), "a test").unwrap();
    let model = Model::from(Llama::random(config, 3, &Device::Cpu).unwrap());
    Loaded { model, tokenizer: tokenizer(chat) }
}

fn text(prompt: &str, max_tokens: usize) -> CompletionRequest {
    let decoding = Decoding { max_tokens, temperature: 1.0, ..Decoding::default() };
    CompletionRequest { prompt: Prompt::Text(prompt.into()), decoding, seed: 5, logprobs: true }
}

fn ask(model: &LocalModel<'_>, requests: &[CompletionRequest]) -> Vec<Reply> {
    let mut replies = vec![None; requests.len()];
    model.complete(&mut requests.iter().cloned(), &mut |number, reply| {
        assert!(replies[number].replace(reply).is_none(), "request {number} was answered twice");
        ControlFlow::Continue(())
    });
    replies.into_iter().map(|reply| reply.expect("every request has a reply")).collect()
}

fn model(loaded: &Loaded) -> LocalModel<'_> {
    LocalModel::new("tiny", loaded, Capacity { slots: 3, ..Capacity::default() }).unwrap()
}

#[test]
fn a_completion_is_what_the_model_generates_and_says_what_it_took() {
    let loaded = loaded(true);
    let model = model(&loaded);
    let requests: Vec<_> = (0..8).map(|n| text(&format!("Task {n}:"), 3 + 2 * n)).collect();
    for (request, reply) in requests.iter().zip(ask(&model, &requests)) {
        let Prompt::Text(prompt) = &request.prompt else { unreachable!() };
        let ids = loaded.tokenizer.encode(prompt).unwrap();
        let limits = Limits {
            max_new_tokens: request.decoding.max_tokens,
            stop_ids: loaded.tokenizer.eos_ids().to_vec(),
        };
        let sampling = sampling(&request.decoding, 5);
        let go_on = |_, _| ControlFlow::Continue(());
        let alone =
            generate(&loaded.model, std::slice::from_ref(&ids), sampling, &limits, go_on).unwrap();
        let found = reply.unwrap();
        assert_eq!(found.text, loaded.tokenizer.decode(&alone[0].ids, true).unwrap());
        let cut = alone[0].finish == Finish::Length;
        assert_eq!(found.finish_reason == FinishReason::Length, cut);
        let usage = [found.usage.prompt_tokens, found.usage.completion_tokens];
        assert_eq!(usage, [ids.len() as u64, alone[0].ids.len() as u64]);
        let tokens = found.logprobs.unwrap();
        assert!(tokens.iter().all(|token| token.logprob < 0.0));
        // Bytes of a character that never ended come out as one sign at the end.
        let joined: String = tokens.iter().map(|token| token.token.as_str()).collect();
        assert!(found.text.starts_with(&joined), "{:?} has the tokens {joined:?}", found.text);
    }
    assert_eq!(model.name(), "tiny");
    assert_eq!(model.count_tokens("four"), 4);
}

#[test]
fn of_answers_to_choose_from_the_most_probable_is_taken() {
    let loaded = loaded(true);
    let model = model(&loaded);
    let choice = |options: &[&str]| {
        let mut request = text("Task:", 9);
        request.decoding.options = options.iter().map(|&option| option.to_owned()).collect();
        request
    };
    let found = ask(&model, &[choice(&["A", "Blue", "C"])]).remove(0).unwrap();
    let options = found.logprobs.unwrap();
    assert_eq!(options.iter().map(|one| &*one.token).collect::<Vec<_>>(), ["A", "Blue", "C"]);
    let best = options.iter().max_by(|a, b| a.logprob.total_cmp(&b.logprob)).unwrap();
    assert_eq!((&found.text, found.usage.completion_tokens), (&best.token, 1));
    // The probabilities of the three first letters, among all tokens.
    assert!(options.iter().map(|one| one.logprob.exp()).sum::<f64>() < 1.0);
    // Told apart by their first token: these begin alike, with a blank of its own.
    let none = ask(&model, &[choice(&[" A", " B"])]).remove(0).unwrap_err();
    assert!(none.fatal && none.message.contains("the answer ` B` cannot be told"), "{none}");
}

#[test]
fn a_stop_text_ends_a_completion_before_it_across_tokens() {
    let loaded = loaded(true);
    let model = model(&loaded);
    let whole = ask(&model, &[text("List:", 20)]).remove(0).unwrap();
    // Two characters, each a token or more.
    let stop = whole.text.chars().skip(4).take(2).collect::<String>();
    let mut request = text("List:", 20);
    request.decoding.stop = vec!["never".into(), stop.clone()];
    let cut = ask(&model, &[request]).remove(0).unwrap();
    assert_eq!(Some(cut.text.as_str()), whole.text.split(&stop).next());
    assert_eq!(cut.finish_reason, FinishReason::Stop);
    let tokens = cut.logprobs.unwrap();
    assert!((tokens.len() as u64) < cut.usage.completion_tokens);
    assert_eq!(tokens, whole.logprobs.unwrap()[..tokens.len()]);
    assert!(cut.usage.completion_tokens < whole.usage.completion_tokens);
}

#[test]
fn a_conversation_goes_through_the_chat_template() {
    let loaded = loaded(true);
    let model = model(&loaded);
    let spelt = text("<|user|>Hi<|end|><|assistant|>", 9);
    let messages = Prompt::Messages(vec![Message::new("user", "Hi")]);
    let asked = CompletionRequest { prompt: messages, ..spelt.clone() };
    // The time that it took is another each time.
    let answer = |request: &CompletionRequest| {
        let answer = ask(&model, std::slice::from_ref(request)).remove(0).unwrap();
        Completion { effort: Effort::default(), ..answer }
    };
    assert_eq!(answer(&spelt), answer(&asked));
    let plain = self::loaded(false);
    let none = ask(&self::model(&plain), &[asked]).remove(0).unwrap_err();
    assert!(none.fatal && none.message.contains("no chat template"), "{none:?}");
}

#[test]
fn what_cannot_be_asked_is_said_and_the_others_are_answered() {
    let loaded = loaded(true);
    let model = model(&loaded);
    let mut wrong = text("a", 5);
    wrong.decoding.top_p = 2.0;
    let requests = [text(&"a".repeat(64), 5), text("a", 5), text("", 5), wrong, text("b", 500)];
    let replies = ask(&model, &requests);
    let none = |number: usize| replies[number].clone().unwrap_err();
    let wanted = "the prompt has 64 tokens, wanted fewer than the 64 that the model was made for";
    assert_eq!((none(0).message.as_str(), none(0).fatal), (wanted, false));
    assert!(none(0).hint.unwrap().contains("longer context"));
    assert!(replies[1].is_ok());
    assert_eq!(none(2).message, "the prompt has no tokens, wanted at least one");
    assert_eq!(none(3).message, "`top_p` is 2, wanted a number from 0 to 1");
    assert!(none(3).fatal);
    // No more than the context holds.
    let long = replies[4].clone().unwrap();
    assert!(long.usage.prompt_tokens + long.usage.completion_tokens <= 64);
}

#[test]
fn a_model_that_computes_nonsense_answers_nothing_and_says_that_it_never_will() {
    let loaded = loaded(true);
    let weights = loaded.model.parameters()[0].value();
    let numbers = vec![f32::NAN; weights.elem_count()];
    albacore_kernels::storage::overwrite(weights, numbers).unwrap();
    let mut replies = Vec::new();
    let requests = [text("a", 5), text("", 5), text("b", 5)];
    model(&loaded).complete(&mut requests.into_iter(), &mut |number, reply| {
        replies.push((number, reply.unwrap_err()));
        ControlFlow::Continue(())
    });
    replies.sort_by_key(|(number, _)| *number);
    let said = replies.iter().map(|(number, none)| (*number, none.fatal)).collect::<Vec<_>>();
    assert_eq!(said, [(0, true), (1, false), (2, true)]);
    assert!(replies[0].1.message.contains("NaN"), "{}", replies[0].1.message);
}

#[test]
fn who_has_enough_is_told_of_nothing_more_and_nothing_more_is_taken() {
    let loaded = loaded(true);
    let model = model(&loaded);
    let taken = Cell::new(0);
    let mut requests = (0..).map(|number| {
        taken.set(taken.get() + 1);
        text(&format!("{number}"), 4)
    });
    let mut replies = 0;
    model.complete(&mut requests, &mut |_, _| {
        replies += 1;
        if replies == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(replies, 5);
    // Three run at a time, and one may wait.
    assert!((5..=8).contains(&taken.get()), "{}", taken.get());
    // Also where a request is refused at the door.
    let refused = [text("", 4), text("a", 4)];
    let mut replies = 0;
    model.complete(&mut refused.into_iter(), &mut |_, _| {
        replies += 1;
        ControlFlow::Break(())
    });
    assert_eq!(replies, 1);
}
