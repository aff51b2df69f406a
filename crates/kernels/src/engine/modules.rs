//! The compiled kernels, as `build.rs` left them.

macro_rules! modules {
    ($($name:literal),*) => {
        /// The fat binary of the kernels in `file`.
        pub(super) fn module(file: &str) -> Option<&'static [u8]> {
            match file {
                $($name => Some(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".fatbin"))),)*
                _ => None,
            }
        }
    };
}

modules!(
    "adafactor",
    "adamw",
    "add",
    "attention",
    "attention_backward",
    "attention_bias",
    "decode",
    "dropout",
    "gather",
    "geglu",
    "head",
    "reduce",
    "relu",
    "rms_norm",
    "rope",
    "sample",
    "scale",
    "swiglu"
);
