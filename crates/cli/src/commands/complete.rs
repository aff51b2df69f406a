//! `albacore complete`: answers to prompts, many at a time.

use std::io::{IsTerminal, Read, stdin, stdout};
use std::ops::ControlFlow;

use albacore_data::{Encoder, Learn, Message};
use albacore_model::{Beams, Finish, Limits, Sampling, beam_search, generate};
use anyhow::anyhow;
use candle_core::Device;
use serde_json::json;

use crate::answer::Answer;
use crate::args::Complete;
use crate::failure::{Failure, OrRefuse, Outcome, Refusal, Result};
use crate::loaded::Loaded;
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the model or an option cannot be used.
pub fn run(options: &Complete, seed: Option<u64>, device: &Device, terminal: &Terminal) -> Result {
    let sampling = sampling(options, seed)?;
    let prompts = prompts(options)?;
    let loaded = Loaded::new(&options.model, device, terminal)?;
    let encoder = loaded.encoder(options.template, Learn::Answers)?;
    let ids = prompts.iter().map(|prompt| encode(&encoder, options, prompt));
    let ids = ids.collect::<Result<Vec<_>>>()?;

    let longest = ids.iter().map(Vec::len).max().unwrap_or(0);
    let longest = longest.saturating_add(options.max_new_tokens);
    let made_for = loaded.model.config().context();
    if longest > made_for {
        terminal.warn(&format!(
            "prompt and answer may take {longest} tokens, the model was made for {made_for}"
        ));
    }
    let limits = Limits {
        max_new_tokens: options.max_new_tokens,
        stop_ids: loaded.tokenizer.eos_ids().to_vec(),
    };
    let live = prompts.len() == 1 && !terminal.json && stdout().is_terminal();
    let new_answer = |_| Answer::new(loaded.tokenizer.stream(true), &options.stop);
    let mut answers: Vec<_> = prompts.iter().map(new_answer).collect();
    let mut trouble = None;
    let mut on_token = |prompt: usize, id| {
        let answer: &mut Answer<'_> = &mut answers[prompt];
        let pushed = answer.push(id).map_err(Failure::from);
        match pushed.and_then(|_| if live { answer.show(terminal, false) } else { Ok(()) }) {
            Ok(()) if answer.stopped => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                trouble = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let generated = if options.beams == 1 {
        generate(&loaded.model, &ids, sampling, &limits, on_token)?
    } else {
        let (count, length_penalty) = (options.beams, options.length_penalty);
        let beams = Beams { count, length_penalty, ..Beams::default() };
        let generated = beam_search(&loaded.model, &ids, beams, &limits).or_refuse()?;
        for (prompt, answer) in generated.iter().enumerate() {
            let said = answer.ids.iter().filter(|id| !limits.stop_ids.contains(id));
            let _: ControlFlow<()> = said.copied().try_for_each(|id| on_token(prompt, id));
        }
        generated
    };
    trouble.map_or(Ok(()), Err)?;

    for ((prompt, mut answer), generated) in prompts.iter().zip(answers).zip(generated) {
        answer.end()?;
        if live {
            answer.show(terminal, true)?;
            terminal.print("")?;
        } else if terminal.json {
            let finish = if generated.finish == Finish::Length { "length" } else { "stop" };
            let tokens = generated.ids.len();
            let line = json!({
                "prompt": prompt, "completion": answer.text, "tokens": tokens, "finish": finish
            });
            terminal.print(&line.to_string())?;
        } else if prompts.len() == 1 {
            terminal.print(&answer.text)?;
        } else {
            terminal.print(&format!("> {prompt}\n{}\n", answer.text))?;
        }
    }
    Ok(Outcome::Done)
}

fn sampling(options: &Complete, seed: Option<u64>) -> Result<Sampling> {
    let sampling = Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        repetition_penalty: options.repetition_penalty,
        seed: seed.unwrap_or(0),
        ..Sampling::default()
    };
    if options.beams != 1 && options.temperature != 0.0 {
        let found = format!(
            "`--beams` is {} and `--temperature` {}, wanted one of them",
            options.beams, options.temperature
        );
        return Err(Refusal::new(found, "beams look for the likeliest answer and draw none"))
            .or_refuse();
    }
    match sampling.problems() {
        problems if problems.is_empty() => Ok(sampling),
        problems => {
            Err(Failure::Problems(problems.into_iter().map(|text| anyhow!(text)).collect()))
        }
    }
}

/// The prompts, `-` read from stdin.
fn prompts(options: &Complete) -> Result<Vec<String>> {
    let read = |prompt: &String| {
        let mut text = String::new();
        match prompt.as_str() {
            "-" => stdin().read_to_string(&mut text).map(|_| text.trim_end().to_owned()),
            _ => Ok(prompt.clone()),
        }
    };
    options.prompt.iter().map(read).collect::<std::io::Result<_>>().or_refuse()
}

fn encode(encoder: &Encoder<'_>, options: &Complete, prompt: &str) -> Result<Vec<u32>> {
    let ids = match &options.system {
        None => encoder.prompt(prompt).or_refuse()?,
        Some(system) => {
            let messages = [Message::new("system", system), Message::new("user", prompt)];
            encoder.ask(&messages).or_refuse()?
        }
    };
    if ids.is_empty() {
        let hint = "write a prompt, or use a template";
        return Err(Refusal::new("the prompt has no tokens, wanted at least one", hint))
            .or_refuse();
    }
    Ok(ids)
}
