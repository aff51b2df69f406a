//! Runs launches of the CUDA kernels without a GPU: see `emulated.h`.
//!
//! The kernels are compiled once by the system's C++ compiler, with its sanitizers, into a program
//! beside the test's own executable. A test records its launches and then runs them under several
//! schedules: the bytes must be the same under each.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod text;

use std::cell::RefCell;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use text::Text;

use crate::Result;
use crate::launch::{Address, Compute, Gpu, Launch};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/emulator");
const KERNELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Warps in step; in reverse, each as far as it gets; shuffled.
const SCHEDULES: [u64; 3] = [0, 1, 2];

/// Marks an address: no float or index of a test looks like it.
const MARK: u64 = 0xa1bc << 48;

/// Launches, and the memory that they work on.
#[derive(Default)]
pub struct Emulator {
    buffers: RefCell<Vec<Vec<u8>>>,
    launches: RefCell<Vec<Launch>>,
}

impl Emulator {
    /// The emulator, or `None` where there is no C++ compiler with sanitizers: then the test says so.
    pub fn new() -> Option<Self> {
        #[cfg(feature = "cuda")]
        if real_gpu().is_some() {
            return Some(Self::default());
        }
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        if PROGRAM.get_or_init(|| program().ok()).is_none() {
            eprintln!("skipped: no C++ compiler with AddressSanitizer to emulate kernels with");
            return None;
        }
        Some(Self::default())
    }

    /// Memory that holds `numbers`, as the type of activations.
    pub fn numbers(&self, numbers: &[f32], compute: Compute) -> Address {
        let bytes = match compute {
            Compute::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Compute::Bf16 => numbers.iter().flat_map(|&number| bf16_bytes(number)).collect(),
        };
        self.address(&self.hold(bytes))
    }

    /// Memory for `count` numbers, not filled.
    pub fn room(&self, count: usize, compute: Compute) -> Address {
        self.address(&self.allocate(count * compute.size()).unwrap())
    }

    /// Memory that holds `bytes`.
    pub fn bytes(&self, bytes: &[u8]) -> Address {
        self.address(&self.hold(bytes.to_vec()))
    }

    /// Memory that holds `words`.
    pub fn words(&self, words: &[u32]) -> Address {
        self.address(&self.upload(words).unwrap())
    }

    fn hold(&self, bytes: Vec<u8>) -> usize {
        let mut buffers = self.buffers.borrow_mut();
        buffers.push(bytes);
        buffers.len() - 1
    }

    /// Runs all launches under every schedule, and returns what the memory holds afterwards. Where
    /// `ALBACORE_TEST_GPU` names a GPU, it runs them instead, twice.
    pub fn run(&self) -> Memory {
        #[cfg(feature = "cuda")]
        if let Some(index) = real_gpu() {
            let runs = [(); 2].map(|()| self.run_on(index));
            assert!(runs[0] == runs[1], "two runs give other bytes: {:?}", self.kernels());
            let [first, _] = runs;
            return Memory(first);
        }
        let program_text = self.program_text();
        let runs = SCHEDULES.map(|schedule| execute(schedule, &program_text));
        let kernels = self.kernels();
        for (run, schedule) in runs.iter().zip(SCHEDULES) {
            assert!(run == &runs[0], "schedule {schedule} gives other bytes: {kernels:?}");
        }
        let [mut bytes, ..] = runs;
        let buffers = self.buffers.borrow();
        let mut split = |buffer: &Vec<u8>| {
            let rest = bytes.split_off(buffer.len());
            std::mem::replace(&mut bytes, rest)
        };
        Memory(buffers.iter().map(&mut split).collect())
    }

    fn kernels(&self) -> Vec<String> {
        self.launches.borrow().iter().map(|launch| launch.kernel.clone()).collect()
    }

    /// Copies the memory to a GPU, runs the launches there and copies the memory back.
    #[cfg(feature = "cuda")]
    fn run_on(&self, index: usize) -> Vec<Vec<u8>> {
        let device = crate::gpu(index).unwrap();
        let engine = crate::engine::Engine::of(&device).unwrap().unwrap();
        let buffers = self.buffers.borrow();
        let held: Vec<_> =
            buffers.iter().map(|buffer| engine.allocate(buffer.len()).unwrap()).collect();
        let real = |at: Address| {
            let (buffer, offset) = place(at);
            engine.address(&held[buffer]).after(offset, 1)
        };
        for (buffer, memory) in buffers.iter().zip(&held) {
            let mut bytes = buffer.clone();
            for word in bytes.chunks_exact_mut(8) {
                if let Some(at) = marked(word) {
                    word.copy_from_slice(&real(at).0.to_le_bytes());
                }
            }
            engine.write(engine.address(memory), &bytes).unwrap();
        }
        for launch in self.launches.borrow().iter() {
            let mut launch = launch.clone();
            for argument in &mut launch.arguments {
                if let crate::launch::Argument::Address(at) = argument {
                    *at = real(*at);
                }
            }
            engine.launch(launch).unwrap();
        }
        // Where buffers lie is no result.
        let read = |(buffer, memory): (&Vec<u8>, _)| {
            let mut bytes = engine.read(engine.address(memory), buffer.len()).unwrap();
            for (word, before) in bytes.chunks_exact_mut(8).zip(buffer.chunks_exact(8)) {
                if marked(before).is_some() {
                    word.copy_from_slice(before);
                }
            }
            bytes
        };
        buffers.iter().zip(&held).map(read).collect()
    }

    /// The program as `emulator.cpp` reads it.
    fn program_text(&self) -> Vec<u8> {
        let (buffers, launches) = (self.buffers.borrow(), self.launches.borrow());
        let mut text = Text::default();
        text.u32(buffers.len());
        let mut links = Vec::new();
        for (index, buffer) in buffers.iter().enumerate() {
            text.u64(buffer.len() as u64);
            text.0.extend(buffer);
            let words = buffer.chunks_exact(8).enumerate();
            links.extend(words.filter_map(|(at, word)| Some((index, at * 8, marked(word)?))));
        }
        text.u32(links.len());
        for (buffer, offset, target) in links {
            text.u32(buffer);
            text.u64(offset as u64);
            text.address(target);
        }
        text.u32(launches.len());
        for launch in launches.iter() {
            text.u32(launch.kernel.len());
            text.0.extend(launch.kernel.as_bytes());
            let [x, y] = launch.grid;
            for size in [x, y, 1, launch.threads, 1, 1, launch.shared] {
                text.u32(size as usize);
            }
            text.u32(launch.arguments.len());
            for argument in &launch.arguments {
                text.argument(*argument);
            }
        }
        text.0
    }
}

impl Gpu for Emulator {
    type Memory = usize;

    fn allocate(&self, bytes: usize) -> Result<usize> {
        Ok(self.hold(vec![0xff; bytes]))
    }

    fn upload(&self, words: &[u32]) -> Result<usize> {
        Ok(self.hold(words.iter().flat_map(|word| word.to_le_bytes()).collect()))
    }

    fn address(&self, memory: &usize) -> Address {
        Address(MARK | (*memory as u64) << 32)
    }

    fn zero(&self, at: Address, bytes: usize) -> Result<()> {
        assert!(self.launches.borrow().is_empty(), "zeroing is not recorded between launches");
        let (buffer, offset) = place(at);
        self.buffers.borrow_mut()[buffer][offset..offset + bytes].fill(0);
        Ok(())
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        self.launches.borrow_mut().push(launch);
        Ok(())
    }
}

/// The buffers after a run.
pub struct Memory(Vec<Vec<u8>>);

impl Memory {
    /// The bytes from `at` to the end of its buffer.
    pub fn bytes(&self, at: Address) -> Vec<u8> {
        let (buffer, offset) = place(at);
        self.0[buffer][offset..].to_vec()
    }

    /// The numbers from `at` to the end of its buffer.
    pub fn numbers(&self, at: Address, compute: Compute) -> Vec<f32> {
        let (buffer, offset) = place(at);
        let bytes = self.0[buffer][offset..].chunks_exact(compute.size());
        let wide = |bytes: &[u8]| match compute {
            Compute::F32 => f32::from_le_bytes(bytes.try_into().unwrap()),
            Compute::Bf16 => {
                f32::from_bits(u32::from(u16::from_le_bytes(bytes.try_into().unwrap())) << 16)
            }
        };
        bytes.map(wide).collect()
    }
}

/// The GPU that runs the launches in place of the emulator, if one is named.
#[cfg(feature = "cuda")]
fn real_gpu() -> Option<usize> {
    std::env::var("ALBACORE_TEST_GPU").ok()?.parse().ok()
}

/// The address that these eight bytes are, if they are one.
fn marked(word: &[u8]) -> Option<Address> {
    let at = u64::from_le_bytes(word.try_into().unwrap());
    (at >> 48 == MARK >> 48).then_some(Address(at))
}

fn place(at: Address) -> (usize, usize) {
    ((at.0 >> 32) as usize & 0xffff, at.0 as u32 as usize)
}

/// To the nearest, ties to even.
fn bf16_bytes(number: f32) -> [u8; 2] {
    let bits = number.to_bits();
    let rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    (rounded as u16).to_le_bytes()
}

/// The number that a kernel of this type reads where a test means `number`.
pub fn rounded(number: f32, compute: Compute) -> f32 {
    match compute {
        Compute::F32 => number,
        Compute::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes(bf16_bytes(number))) << 16),
    }
}

fn execute(schedule: u64, text: &[u8]) -> Vec<u8> {
    let program = program().expect("it was there when the emulator was made");
    let mut child = Command::new(program)
        .arg(schedule.to_string())
        .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut bytes = Vec::new();
    std::thread::scope(|scope| {
        // An early end of the program shows in its status, not here.
        scope.spawn(move || drop(stdin.write_all(text)));
        stdout.read_to_end(&mut bytes).unwrap();
    });
    let output = child.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "schedule {schedule}: {}\n{report}", output.status);
    bytes
}

/// The compiled emulator, made if its sources have changed.
fn program() -> std::io::Result<PathBuf> {
    static MADE: OnceLock<std::result::Result<PathBuf, std::io::ErrorKind>> = OnceLock::new();
    MADE.get_or_init(|| build().map_err(|error| error.kind())).clone().map_err(Into::into)
}

fn build() -> std::io::Result<PathBuf> {
    let sources = [files(KERNELS, "cu")?, files(FOLDER, "cpp")?].concat();
    let headers = [files(&format!("{KERNELS}/cuda"), "cuh")?, files(FOLDER, "h")?].concat();
    let mut hasher = DefaultHasher::new();
    for file in sources.iter().chain(&headers) {
        fs::read(file)?.hash(&mut hasher);
    }
    let beside = std::env::current_exe()?;
    let folder = beside.parent().unwrap_or(Path::new(".")).to_owned();
    let program = folder.join(format!("emulator-{:016x}", hasher.finish()));
    if program.exists() {
        return Ok(program);
    }
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let scratch = folder.join(format!("emulator-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let object = |source: &Path| scratch.join(source.file_stem().unwrap()).with_extension("o");
    let compile = |source: &PathBuf| -> std::io::Result<()> {
        let flags = "-std=c++17 -O2 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all";
        let status = Command::new(&compiler)
            .args(flags.split(' '))
            .args(["-DALBACORE_EMULATED", "-Wno-unknown-pragmas", "-I", KERNELS, "-I", FOLDER])
            .args(["-x", "c++", "-c"])
            .arg(source)
            .arg("-o")
            .arg(object(source))
            .status()?;
        assert!(status.success(), "{} does not compile", source.display());
        Ok(())
    };
    // The probe first: without a compiler, or its sanitizers, there is nothing to test.
    let probe = scratch.join("probe.cpp");
    fs::write(&probe, "int main() { return 0; }\n")?;
    let linked = Command::new(&compiler)
        .args(["-fsanitize=address,undefined", "-o"])
        .args([scratch.join("probe"), probe])
        .stderr(Stdio::null())
        .status()?;
    if !linked.success() {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    let (left, right): (Vec<_>, Vec<_>) =
        sources.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    std::thread::scope(|scope| {
        let halves = [left, right].map(|half| {
            scope.spawn(|| half.into_iter().try_for_each(|(_, source)| compile(source)))
        });
        halves.into_iter().try_for_each(|half| half.join().unwrap())
    })?;
    let made = scratch.join("emulator");
    let status = Command::new(&compiler)
        .args(["-fsanitize=address,undefined", "-o"])
        .arg(&made)
        .args(sources.iter().map(|source| object(source)))
        .status()?;
    assert!(status.success(), "the emulator does not link");
    fs::rename(&made, &program)?;
    fs::remove_dir_all(&scratch)?;
    Ok(program)
}

fn files(folder: &str, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = entries.collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}
