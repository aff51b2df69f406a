//! Records to ids, and what is learned.

use std::collections::BTreeMap;

use albacore_data::{
    Body, ChatTemplate, Defect, Encoded, Encoder, Learn, Message, Origin, Patterns, Reason, Record,
    Template, Tokenizer, preview,
};

use proptest::prelude::*;

use crate::tiny::{BOS, CHATML, EOS, TURN_ENDS, Tiny};

fn tokenizer(tiny: &Tiny<'_>) -> Tokenizer {
    Tokenizer::load(tiny.write().path()).unwrap()
}

fn record(body: Body) -> Record {
    Record::new(body, Origin::new("test.jsonl", 1))
}

fn pair(prompt: &str, completion: &str) -> Record {
    record(Body::Prompt { prompt: prompt.into(), completion: completion.into() })
}

fn turns(turns: &[(&str, &str)]) -> Record {
    let messages = turns.iter().map(|(role, content)| Message::new(*role, *content)).collect();
    record(Body::Messages { messages, tools: None })
}

/// The text of an example, what is learned in brackets.
fn shown(tokenizer: &Tokenizer, example: &Encoded) -> String {
    let mut out = String::new();
    let mut learned = false;
    for token in preview(tokenizer, example).unwrap() {
        if token.learned != learned {
            out.push(if learned { ']' } else { '[' });
            learned = token.learned;
        }
        out += &token.text;
    }
    if learned {
        out.push(']');
    }
    out
}

fn chat(tiny: &Tiny<'_>, template: &str, learn: Learn, record: &Record) -> Result<String, Defect> {
    let tokenizer = tokenizer(tiny);
    let template = ChatTemplate::new(template, tokenizer.special_tokens(), None).unwrap();
    let encoder = Encoder::new(&tokenizer, Template::Chat(template.into()), learn);
    encoder.encode(record).map(|example| shown(&tokenizer, &example))
}

fn none(learn: Learn, record: &Record) -> Encoded {
    let tokenizer = tokenizer(&Tiny::default());
    Encoder::new(&tokenizer, Template::None, learn).encode(record).unwrap()
}

/// The id of a byte.
fn id(byte: u8) -> u32 {
    5 + u32::from(byte)
}

const TINY_CHATML: Tiny<'_> =
    Tiny { bos: false, eos: "<|im_end|>", merges: &[], chat_template: Some(CHATML) };

const TWO_TURNS: [(&str, &str); 4] =
    [("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")];

#[test]
fn a_pair_is_bos_prompt_answer_eos() {
    let example = none(Learn::Answers, &pair("hi", "yo"));
    assert_eq!(example.ids, [BOS, id(b'h'), id(b'i'), id(b'y'), id(b'o'), EOS]);
    assert_eq!(example.learned, [false, false, false, true, true, true]);
    use Reason::{Answer, AnswerEnd, Bos, Prompt};
    assert_eq!(example.reasons, [Bos, Prompt, Prompt, Answer, Answer, AnswerEnd]);
    assert_eq!(example.prompt(), &example.ids[..3]);
}

#[test]
fn bos_and_eos_that_the_text_spells_are_not_doubled() {
    let example = none(Learn::Answers, &pair("<s>hi", "yo</s>"));
    assert_eq!(example, none(Learn::Answers, &pair("hi", "yo")));
}

#[test]
fn a_tokenizer_without_bos_adds_none() {
    let tokenizer = tokenizer(&Tiny { bos: false, ..Tiny::default() });
    let encoder = Encoder::new(&tokenizer, Template::None, Learn::Answers);
    assert_eq!(encoder.encode(&pair("a", "b")).unwrap().ids, [id(b'a'), id(b'b'), EOS]);
}

#[test]
fn eos_is_learned_although_others_pad_with_it() {
    let tokenizer = tokenizer(&Tiny::default());
    assert_eq!(tokenizer.special_tokens()["pad_token"], "</s>");
    let example = none(Learn::Answers, &pair("hi", "yo"));
    assert_eq!((example.ids.last(), example.learned.last()), (Some(&EOS), Some(&true)));
}

#[test]
fn prompt_and_answer_are_tokenised_apart() {
    // `\n` twice would become one token across the seam
    let merges: &[_] = &[("Ċ", "Ċ")];
    let tokenizer = tokenizer(&Tiny { merges, ..Tiny::default() });
    let encoder = Encoder::new(&tokenizer, Template::None, Learn::Answers);
    let example = encoder.encode(&pair("a\n", "\nb")).unwrap();
    assert_eq!(example.ids, [BOS, id(b'a'), id(b'\n'), id(b'\n'), id(b'b'), EOS]);
    assert_eq!(encoder.prompt("a\n").unwrap(), example.prompt());
    // the same in a conversation
    let tiny = Tiny { merges, ..TINY_CHATML };
    let found =
        chat(&tiny, CHATML, Learn::Answers, &turns(&[("user", "q"), ("assistant", "\n\nb")]));
    let expected = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[\n\nb<|im_end|>]\n";
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn what_is_learned_of_a_pair() {
    let tokenizer = tokenizer(&Tiny::default());
    let learned = |learn: &str| {
        let learn: Learn = serde_json::from_value(learn.into()).unwrap();
        let encoder = Encoder::new(&tokenizer, Template::None, learn);
        encoder.encode(&pair("hi", "yo")).map(|example| shown(&tokenizer, &example))
    };
    assert_eq!(learned("answers").unwrap(), "<s>hi[yo</s>]");
    assert_eq!(learned("last").unwrap(), "<s>hi[yo</s>]");
    assert_eq!(learned("all").unwrap(), "<s>[hiyo</s>]");
    assert_eq!(learned("role:assistant").unwrap(), "<s>hi[yo</s>]");
    assert_eq!(learned("role:user").unwrap(), "<s>[hi]yo</s>");
    assert!(matches!(learned("role:tool"), Err(Defect::NothingLearned { .. })));
}

#[test]
fn plain_text_is_learned_whole_and_given_ids_are_taken_as_they_are() {
    let tokenizer = tokenizer(&Tiny::default());
    let example = none(Learn::Answers, &record(Body::Text { text: "hi".into() }));
    assert_eq!(shown(&tokenizer, &example), "<s>[hi</s>]");
    let body = Body::Tokens { ids: vec![9, 8, 7], learned: vec![true, false, true] };
    let example = none(Learn::Answers, &record(body));
    assert_eq!(example.ids, [9, 8, 7]);
    // the first has no predecessor, so its label counts for nothing
    assert_eq!(example.learned, [false, false, true]);
}

#[test]
fn the_alpaca_prompts_are_those_that_were_published() {
    let tokenizer = tokenizer(&Tiny { bos: false, ..Tiny::default() });
    let template = Template::Patterns(Patterns::alpaca(), "alpaca".into());
    let encoder = Encoder::new(&tokenizer, template, Learn::Answers);
    let text = |input: &str| {
        let (instruction, output) = ("Add {x}.".into(), "3".into());
        let body = Body::Alpaca { instruction, input: input.into(), output };
        shown(&tokenizer, &encoder.encode(&record(body)).unwrap())
    };
    insta::assert_snapshot!(text(""), @"
    Below is an instruction that describes a task. Write a response that appropriately completes the request.

    ### Instruction:
    Add {x}.

    ### Response:[3</s>]
    ");
    insta::assert_snapshot!(text("1 {input} 2"), @"
    Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.

    ### Instruction:
    Add {x}.

    ### Input:
    1 {input} 2

    ### Response:[3</s>]
    ");
    assert_eq!(
        encoder.prompt("Add {x}.").unwrap(),
        encoder.encode(&pair("Add {x}.", "3")).unwrap().prompt()
    );
}

#[test]
fn a_template_of_the_user() {
    let tokenizer = tokenizer(&Tiny { bos: false, ..Tiny::default() });
    let patterns: Patterns =
        toml::from_str("prompt = \"Q: {instruction}{{}} A:\"\nresponse = \" {output}\\n###\"")
            .unwrap();
    let template = Template::Patterns(patterns, "style.toml".into());
    let encoder = Encoder::new(&tokenizer, template, Learn::Answers);
    let example = encoder.encode(&pair("{output}?", "x")).unwrap();
    assert_eq!(shown(&tokenizer, &example), "Q: {output}?{{}} A:[ x\n###</s>]");
}

#[test]
fn answers_of_a_conversation_are_learned_up_to_their_end_of_turn() {
    let learned = |learn: Learn| chat(&TINY_CHATML, CHATML, learn, &turns(&TWO_TURNS)).unwrap();
    assert_eq!(
        learned(Learn::Answers),
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>]\n\
         <|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n"
    );
    assert_eq!(
        learned(Learn::Last),
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n\
         <|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n"
    );
    assert_eq!(
        learned(Learn::Role("user".into())),
        "<|im_start|>user\n[q<|im_end|>]\n<|im_start|>assistant\na<|im_end|>\n\
         <|im_start|>user\n[r<|im_end|>]\n<|im_start|>assistant\nb<|im_end|>\n"
    );
    let all = learned(Learn::All);
    assert!(all.starts_with("<|im_start|>[user\nq") && all.ends_with("b<|im_end|>\n]"), "{all}");
}

#[test]
fn the_ids_of_a_conversation_are_those_of_its_text() {
    let tokenizer = tokenizer(&TINY_CHATML);
    let template = ChatTemplate::of(&tokenizer, None).unwrap();
    let text = template.render(&messages(), None, false).unwrap().text;
    let encoder = Encoder::new(&tokenizer, Template::Chat(template.into()), Learn::Answers);
    let example = encoder.encode(&turns(&TWO_TURNS)).unwrap();
    assert_eq!(example.ids, tokenizer.encode(&text).unwrap());
    assert_eq!(encoder.ask(&messages()[..3]).unwrap(), &example.ids[..example.len() - 3]);
}

fn messages() -> Vec<Message> {
    TWO_TURNS.iter().map(|(role, content)| Message::new(*role, *content)).collect()
}

#[test]
fn every_token_has_its_reason() {
    let tokenizer = tokenizer(&TINY_CHATML);
    let template = Template::Chat(ChatTemplate::of(&tokenizer, None).unwrap().into());
    let encoder = Encoder::new(&tokenizer, template, Learn::Last);
    let example = encoder.encode(&turns(&TWO_TURNS)).unwrap();
    let letters = example.reasons.iter().map(|reason| match reason {
        Reason::Bos => 'b',
        Reason::Template => '.',
        Reason::Prompt => 'p',
        Reason::Answer => 'a',
        Reason::AnswerEnd => 'e',
        Reason::Text | Reason::Given => '?',
    });
    // <|im_start|>user\nq<|im_end|>\n, <|im_start|>assistant\na<|im_end|>\n, and so on
    let expected = "......p..".to_owned() + "...........a.." + "......p.." + "...........ae.";
    assert_eq!(letters.collect::<String>(), expected);
}

#[test]
fn generation_marks_decide_what_an_answer_is() {
    let template = "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}A: \
        {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n\
        {% else %}Q: {{ m.content }}\n{% endif %}{% endfor %}";
    let found = chat(&Tiny::default(), template, Learn::Answers, &turns(&TWO_TURNS)).unwrap();
    assert_eq!(found, "<s>Q: q\nA: [a</s>]Q: r\nA: [b</s>]");
    let found = chat(&Tiny::default(), template, Learn::Last, &turns(&TWO_TURNS)).unwrap();
    assert_eq!(found, "<s>Q: q\nA: a</s>Q: r\nA: [b</s>]");
    // EOS is learned even where the mark stops short of it
    let short = template
        .replace("{{ eos_token }}{% endgeneration %}", "{% endgeneration %} {{ eos_token }}");
    let found = chat(&Tiny::default(), &short, Learn::Answers, &turns(&TWO_TURNS)).unwrap();
    assert_eq!(found, "<s>Q: q\nA: [a </s>]\nQ: r\nA: [b </s>]\n");
    let reserved = turns(&[("user", "\u{FDD0}"), ("assistant", "a")]);
    let found = chat(&Tiny::default(), template, Learn::Answers, &reserved);
    assert_eq!(found, Err(Defect::Noncharacter(0xFDD0)));
}

#[test]
fn eos_is_added_where_the_template_ends_the_last_answer_without() {
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
        {% if add_generation_prompt %}assistant: {% endif %}";
    let tokenizer = tokenizer(&Tiny::default());
    let jinja = ChatTemplate::new(template, &BTreeMap::new(), None).unwrap();
    let encoder = Encoder::new(&tokenizer, Template::Chat(jinja.into()), Learn::Answers);
    let example = encoder.encode(&turns(&TWO_TURNS)).unwrap();
    let expected = "user: q\nassistant: [a\n]user: r\nassistant: [b\n</s>]";
    assert_eq!((shown(&tokenizer, &example).as_str(), example.eos_added), (expected, true));
    // an end-of-turn token that is no EOS is learned too, and the newline behind it gives way
    let found = chat(&Tiny::default(), CHATML, Learn::Answers, &turns(&TWO_TURNS[..2])).unwrap();
    let expected = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[a<|im_end|></s>]";
    assert_eq!(found, expected);
    // a conversation that ends with a question is not closed
    let found = chat(&Tiny::default(), CHATML, Learn::Answers, &turns(&TWO_TURNS[..3])).unwrap();
    assert!(found.ends_with("[a<|im_end|>]\n<|im_start|>user\nr<|im_end|>\n"), "{found}");
}

#[test]
fn without_eos_the_end_of_the_answer_is_not_learned() {
    let tokenizer = tokenizer(&TINY_CHATML);
    let template = Template::Chat(ChatTemplate::of(&tokenizer, None).unwrap().into());
    let encoder = Encoder::new(&tokenizer, template, Learn::Last).without_eos();
    let found = shown(&tokenizer, &encoder.encode(&turns(&TWO_TURNS)).unwrap());
    assert!(found.ends_with("assistant\n[b]<|im_end|>\n"), "{found}");
    let encoder = Encoder::new(&tokenizer, Template::None, Learn::Answers).without_eos();
    assert_eq!(shown(&tokenizer, &encoder.encode(&pair("a", "b")).unwrap()), "a[b]");
}

#[test]
fn a_template_that_changes_what_it_has_rendered_is_refused() {
    // shows all answers but the last one in capitals
    let template = "{% for m in messages %}{{ m.content if loop.last or m.role == 'user' else \
        m.content | upper }}{{ eos_token }}{% endfor %}";
    let found = chat(&Tiny::default(), template, Learn::Answers, &turns(&TWO_TURNS));
    assert_eq!(found, Err(Defect::Nesting { number: 2 }));
    let found = chat(&Tiny::default(), template, Learn::Last, &turns(&TWO_TURNS)).unwrap();
    assert_eq!(found, "q</s>A</s>r</s>[b</s>]");
}

#[test]
fn an_assistant_that_speaks_first_is_learned_without_its_header() {
    let strict = CHATML.to_owned() + "{{ '' if messages[0].role }}";
    let first = turns(&[("assistant", "I begin."), ("user", "Why?")]);
    let found = chat(&TINY_CHATML, &strict, Learn::Answers, &first).unwrap();
    assert!(found.starts_with("<|im_start|>assistant\n[I begin.<|im_end|>]\n"), "{found}");
}

#[test]
fn alpaca_and_pairs_are_conversations_under_a_chat_template() {
    let alpaca = record(Body::Alpaca {
        instruction: "Add.".into(),
        input: "1 2".into(),
        output: "3".into(),
    });
    let expected = chat(&TINY_CHATML, CHATML, Learn::Answers, &pair("Add.\n\n1 2", "3"));
    assert_eq!(chat(&TINY_CHATML, CHATML, Learn::Answers, &alpaca), expected);
    assert!(expected.unwrap().contains("user\nAdd.\n\n1 2<|im_end|>"));
}

#[test]
fn llama_2_style_answers_begin_with_their_space() {
    let template = "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + \
        m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}\
        {% endfor %}";
    // ` a` is one token, whose offsets must not hide its space
    let tiny = Tiny { merges: &[("Ġ", "a")], bos: false, ..Tiny::default() };
    let found = chat(&tiny, template, Learn::Answers, &turns(&TWO_TURNS)).unwrap();
    assert_eq!(found, "<s>[INST] q [/INST][ a </s>]<s>[INST] r [/INST][ b </s>]");
    assert_ne!(TURN_ENDS, EOS);
}

#[test]
fn an_eos_behind_another_special_token_is_learned_too() {
    let template = "{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content }}<|im_end|>\
        {% endgeneration %}</s>{% endfor %}";
    let answer = turns(&[("assistant", "a")]);
    let found = chat(&Tiny { bos: false, ..Tiny::default() }, template, Learn::Answers, &answer);
    assert_eq!(found.unwrap(), "assistant: [a<|im_end|></s>]");
}

#[test]
fn templates_that_are_wrong_or_refuse() {
    let tokenizer = tokenizer(&TINY_CHATML);
    let wrong = ChatTemplate::new("\n{% for %}", tokenizer.special_tokens(), None).unwrap_err();
    insta::assert_snapshot!(wrong, @"chat template, line 2: unexpected end of block, expected in");
    let refusal = "\n{{ raise_exception('Who is ' ~ messages[0].role ~ '?') }}";
    let found = chat(&TINY_CHATML, refusal, Learn::Answers, &turns(&TWO_TURNS)).unwrap_err();
    insta::assert_snapshot!(found, @"the chat template fails: it refuses the conversation: Who is user? (line 2 of the template)");
    let missing = "{{ messages[0].content.nothing.more }}";
    let found = chat(&TINY_CHATML, missing, Learn::Answers, &turns(&TWO_TURNS)).unwrap_err();
    insta::assert_snapshot!(found, @"the chat template fails: undefined value (line 1 of the template)");
}

proptest! {
    #[test]
    fn answers_are_learned_whole_whatever_they_say(
        contents in prop::collection::vec("[^\u{FFFD}]{0,12}[a-z\n]{0,3}x[ \n]{0,2}", 4),
        learn_last in any::<bool>(),
    ) {
        let merges = &[("Ċ", "Ċ"), ("x", "Ċ"), ("Ġ", "x"), ("Ã", "¤")];
        let tokenizer = tokenizer(&Tiny { merges, ..TINY_CHATML });
        let template = Template::Chat(ChatTemplate::of(&tokenizer, None).unwrap().into());
        let learn = if learn_last { Learn::Last } else { Learn::Answers };
        let encoder = Encoder::new(&tokenizer, template, learn);
        let roles = ["user", "assistant", "user", "assistant"];
        let conversation: Vec<_> =
            roles.into_iter().zip(contents.iter().map(String::as_str)).collect();
        let example = encoder.encode(&turns(&conversation)).unwrap();
        let learned = example.ids.iter().zip(&example.learned).filter(|(_, learned)| **learned);
        let learned: Vec<u32> = learned.map(|(id, _)| *id).collect();
        let first = if learn_last { String::new() } else { format!("{}<|im_end|>", contents[1]) };
        let expected = format!("{first}{}<|im_end|>", contents[3]);
        prop_assert_eq!(tokenizer.decode(&learned, false).unwrap(), expected);
        // what is asked later begins with the same ids
        let messages: Vec<_> =
            conversation[..3].iter().map(|(role, content)| Message::new(*role, *content)).collect();
        let asked = encoder.ask(&messages).unwrap();
        if learn_last {
            prop_assert!(example.ids.starts_with(&asked));
        }
    }
}
