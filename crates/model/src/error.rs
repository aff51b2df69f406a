//! What can go wrong between a folder of weights and a model.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::weights::Misfit;

/// Result of a call into this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of loading, importing, running and saving a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read or write.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`, `rename`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not JSON, or not the object that it should be.
    #[error("`{}` is not valid: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where in the file, and why.
        source: serde_json::Error,
    },
    /// A model configuration that this crate cannot run; all reasons at once.
    #[error("{from} describes a model that cannot be used:{}", bullets(problems))]
    Config {
        /// Where the configuration comes from.
        from: String,
        /// Each value found, and what was wanted.
        problems: Vec<String>,
    },
    /// A folder without weights in safetensors files.
    #[error("no `model.safetensors` in `{}`, found {}", folder.display(), listed(found))]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// The files of weights that are there, in other formats.
        found: Vec<String>,
    },
    /// A file of weights that is truncated, corrupt or contradicts itself.
    #[error("`{}` is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found, and what was wanted.
        problem: String,
    },
    /// The weights are not those that the configuration describes; all differences at once.
    #[error("the tensors of `{}` do not fit its configuration:{}", from.display(), bullets(misfits))]
    Misfits {
        /// The folder or GGUF file.
        from: PathBuf,
        /// Every tensor that is missing, unexpected or of another shape or type.
        misfits: Vec<Misfit>,
    },
    /// A file that is whole but is no GGUF, or holds something that cannot be imported.
    #[error("`{}` cannot be imported: {problem}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What was found, and what was wanted.
        problem: String,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// A folder that would be written already holds something.
    #[error("`{}` exists already and is not an empty folder", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A token id that the model does not have.
    #[error("token id {id} is not in the vocabulary of {vocabulary} tokens")]
    TokenId {
        /// The id.
        id: u32,
        /// Number of tokens that the model has.
        vocabulary: usize,
    },
    /// A prompt without tokens: there is nothing to continue.
    #[error("prompt {index} has no tokens, wanted at least one")]
    EmptyPrompt {
        /// Which of the prompts, from 0.
        index: usize,
    },
    /// A batch for another kind of model.
    #[error("the batch was packed for another kind of model than {wanted}")]
    OtherModel {
        /// The kind that was to run.
        wanted: &'static str,
    },
    /// A response of an encoder-decoder's batch without a token to predict, or with one outside of it.
    #[error(
        "sequence {sequence} of the batch has no wanted token, or one that does not follow its prompt"
    )]
    Targets {
        /// Which sequence, from 0.
        sequence: usize,
    },
    /// A beam search that cannot be made so.
    #[error("beam search: found {found}, wanted {wanted}")]
    Beams {
        /// What was asked for.
        found: String,
        /// What can be done.
        wanted: &'static str,
    },
    /// An operation failed.
    #[error(transparent)]
    Kernels(#[from] albacore_kernels::Error),
    /// Candle failed (allocation, device).
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// Whether the memory of a GPU has run out.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Error::Kernels(error) if error.is_out_of_memory())
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NoWeights { found, .. } if !found.is_empty() => Some(
                "save the model as safetensors first: `model.save_pretrained(OUT)` in transformers, \
                 or `albacore import MODEL.gguf OUT` for a GGUF"
                    .into(),
            ),
            Error::NoWeights { .. } => {
                Some("point to a Hugging Face folder, one with `config.json` and weights".into())
            }
            Error::Damaged { .. } => {
                Some("the file was probably cut short or altered: copy or download it again".into())
            }
            Error::Misfits { misfits, .. } => Misfit::hint(misfits),
            Error::Exists { .. } => Some("name a new folder, or remove this one first".into()),
            Error::TokenId { .. } => {
                Some("the tokenizer probably belongs to another model than the weights".into())
            }
            Error::Import { remedy, .. } => Some((*remedy).into()),
            Error::Config { .. } => Some(
                "LLaMA runs, Mistral without a sliding window, and T5: dense, with weights in f32, \
                 f16 or bf16"
                    .into(),
            ),
            Error::Json { .. } => {
                Some("mend the file at that place, or copy or download it again".into())
            }
            Error::Io { source, .. } => advice(source.kind()).map(Into::into),
            Error::Kernels(error) => error.hint(),
            Error::OtherModel { .. } | Error::Targets { .. } | Error::Beams { .. } => None,
            Error::EmptyPrompt { .. } | Error::Candle(_) => None,
        }
    }

    /// Says what was being done, and to which file, when the system refused.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// A file that contradicts itself.
    pub(crate) fn damaged(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Error::Damaged { path: path.into(), problem: problem.into() }
    }
}

/// What helps where the system refused.
fn advice(refusal: ErrorKind) -> Option<&'static str> {
    match refusal {
        ErrorKind::NotFound => Some("check the path, and that nothing of the folder is missing"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Some("take a place where you may do that, or change its permissions")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("free some space and run the same command again, or write elsewhere")
        }
        _ => None,
    }
}

/// Most lines of one list that are shown: a wrong model differs in hundreds of tensors.
const SHOWN: usize = 12;

fn bullets<T: ToString>(lines: &[T]) -> String {
    let mut text = lines
        .iter()
        .take(SHOWN)
        .fold(String::new(), |text, line| text + "\n  - " + &line.to_string());
    if lines.len() > SHOWN {
        text += &format!("\n  - and {} more", lines.len() - SHOWN);
    }
    text
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no weights at all".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_can_change_comes_with_a_hint() {
        let io = |kind: ErrorKind| Error::io("write", "x")(kind.into()).hint();
        assert!(io(ErrorKind::NotFound).unwrap().contains("path"));
        assert!(io(ErrorKind::PermissionDenied).unwrap().contains("permissions"));
        assert!(io(ErrorKind::StorageFull).unwrap().contains("free some space"));
        // Nothing is known about a broken disk that the message does not say.
        assert_eq!(io(ErrorKind::Other), None);
        let source = serde_json::from_str::<()>("{").unwrap_err();
        let json = Error::Json { path: "config.json".into(), source };
        assert!(json.hint().unwrap().contains("mend the file"));
        let config = Error::Config { from: "config.json".into(), problems: Vec::new() };
        assert!(config.hint().unwrap().contains("Mistral without a sliding window"));
    }
}
