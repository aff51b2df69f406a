//! Compiles the CUDA kernels, with the feature `cuda`: each `.cu` to a fat binary with code for every
//! architecture in `ALBACORE_CUDA_ARCHS` (default `80,89,90a`), embedded by `src/engine/modules.rs`.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs, thread};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Names every kernel file: whoever adds one adds it there.
    println!("cargo::rerun-if-changed=src/engine/modules.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for name in ["ALBACORE_CUDA_ARCHS", "NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let kernels = sources();
    let (nvcc, architectures) = (nvcc(), architectures());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let lanes = thread::available_parallelism().map_or(1, usize::from);
    for some in kernels.chunks(lanes) {
        thread::scope(|scope| {
            for source in some {
                scope.spawn(|| compile(&nvcc, &architectures, source, &out));
            }
        });
    }
}

/// The kernels, longest first; cargo looks at them and at what they include.
fn sources() -> Vec<PathBuf> {
    let mut kernels = Vec::new();
    for folder in ["src", "src/cuda"] {
        for entry in fs::read_dir(folder).expect("the folder is part of the crate") {
            let path = entry.expect("the folder can be read").path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("cu") => kernels.push(path.clone()),
                Some("cuh") => {}
                _ => continue,
            }
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    kernels.sort_by_key(|path| {
        (std::cmp::Reverse(fs::metadata(path).map_or(0, |file| file.len())), path.clone())
    });
    kernels
}

/// The compiler: `NVCC`, or in `CUDA_HOME`, or on the PATH.
fn nvcc() -> PathBuf {
    let home = ["CUDA_HOME", "CUDA_PATH"].into_iter().find_map(env::var_os);
    let places = [
        env::var_os("NVCC").map(PathBuf::from),
        home.map(|home| PathBuf::from(home).join("bin/nvcc")),
        Some(PathBuf::from("nvcc")),
        Some(PathBuf::from("/usr/local/cuda/bin/nvcc")),
    ];
    let works = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok();
    places.into_iter().flatten().find(works).unwrap_or_else(|| {
        refuse(
            "found no CUDA compiler: tried `NVCC`, `CUDA_HOME`, the PATH and /usr/local/cuda",
            "install a CUDA 13 toolkit, or source `scripts/cuda-toolchain.sh`, which makes one from public wheels",
        )
    })
}

/// `-gencode` flags: machine code for each architecture, and PTX of the lowest for newer devices.
fn architectures() -> Vec<String> {
    let wanted = env::var("ALBACORE_CUDA_ARCHS").unwrap_or_else(|_| "80,89,90a".to_owned());
    let names: Vec<&str> = wanted.split(',').map(str::trim).collect();
    let number = |name: &str| name.trim_end_matches('a').parse::<u32>();
    let Some(lowest) = names.iter().filter_map(|name| number(name).ok()).min() else {
        refuse(
            &format!("found ALBACORE_CUDA_ARCHS={wanted}, wanted numbers as in `80,89,90a`"),
            "an A100 is 80, an RTX 4090 is 89, an H100 is 90a",
        )
    };
    let code = names.iter().map(|name| format!("-gencode=arch=compute_{name},code=sm_{name}"));
    code.chain([format!("-gencode=arch=compute_{lowest},code=compute_{lowest}")]).collect()
}

fn compile(nvcc: &Path, architectures: &[String], source: &Path, out: &Path) {
    let target = out.join(source.file_stem().expect("it is a file")).with_extension("fatbin");
    let mut command = Command::new(nvcc);
    command.args(["-std=c++17", "-O3", "-I", "src", "--fatbin"]).args(architectures);
    let output =
        command.arg("-o").arg(target).arg(source).output().expect("the compiler ran before");
    if !output.status.success() {
        let report = String::from_utf8_lossy(&output.stderr);
        refuse(
            &format!("{} does not compile:\n{report}", source.display()),
            "CUDA 13.0 is the tested version",
        );
    }
}

fn refuse(message: &str, hint: &str) -> ! {
    println!("cargo::error={}", message.replace('\n', " | "));
    println!("cargo::error=hint: {hint}");
    eprintln!("{message}\nhint: {hint}");
    exit(1)
}
