//! A GPU behind Candle's context and stream: opening it, loading kernels, memory, launches.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{DType, Device, Storage, Tensor};
use half::bf16;
use parking_lot::Mutex;

use super::clock::Clock;
use super::host::{Outbox, Page};
use super::libraries;
use super::modules::module;
use crate::launch::{Address, Argument, Gpu, Launch};
use crate::{Error, KernelTime, Result};

/// What a block may use of shared memory without asking for more.
const SHARED_BYTES: u32 = 48 << 10;

/// See [`super::gpu`]. A GPU is opened once: its tensors work together.
pub(super) fn open(index: usize) -> Result<Device> {
    static OPENED: OnceLock<Mutex<HashMap<usize, Device>>> = OnceLock::new();
    let mut opened = OPENED.get_or_init(Mutex::default).lock();
    if let Some(device) = opened.get(&index) {
        return Ok(device.clone());
    }
    let device = open_anew(index)?;
    opened.insert(index, device.clone());
    Ok(device)
}

fn open_anew(index: usize) -> Result<Device> {
    libraries::load()?;
    let no_gpu = |message| Error::NoGpu { index, message };
    let count = result::init().and_then(|()| result::device::get_count());
    let count = count.map_err(|error| no_gpu(said(error)))?;
    if usize::try_from(count).is_ok_and(|count| index >= count) {
        return Err(no_gpu(match count {
            0 => "found none".to_owned(),
            1 => "found one alone, which is GPU 0".to_owned(),
            _ => format!("found {count}, of which the first is GPU 0"),
        }));
    }
    let device = Device::new_cuda_with_stream(index);
    // Candle's errors may carry a backtrace below their first line.
    let first_line =
        |error: candle_core::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    let device = device.map_err(|error| no_gpu(first_line(error)))?;
    let engine = Engine::of(&device)?.expect("it is a CUDA device");
    // Whether there is code for this GPU is known once a module is loaded.
    let probe = Launch {
        file: "add",
        kernel: "add_f32".into(),
        grid: [1, 1],
        threads: 256,
        shared: 0,
        arguments: Vec::new(),
    };
    engine.function(&probe)?;
    Ok(device)
}

/// One GPU: its stream, and the kernels loaded onto it.
pub(crate) struct Engine {
    pub(super) device: CudaDevice,
    pub(super) stream: Arc<CudaStream>,
    modules: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    outbox: Mutex<Outbox>,
    /// Page-locked memory for what comes back, while nothing does.
    pub(super) pages: Mutex<Vec<Page>>,
    pub(super) clock: Clock,
}

impl Engine {
    /// The engine of a device, or `None` on the CPU. There is one for each device.
    pub(crate) fn of(device: &Device) -> Result<Option<Arc<Self>>> {
        static ENGINES: OnceLock<Mutex<HashMap<DeviceId, Arc<Engine>>>> = OnceLock::new();
        let Device::Cuda(device) = device else { return Ok(None) };
        let mut engines = ENGINES.get_or_init(Mutex::default).lock();
        let engine = match engines.get(&device.id()) {
            Some(engine) => engine.clone(),
            None => {
                let engine = Arc::new(Self::new(device)?);
                engines.insert(device.id(), engine.clone());
                engine
            }
        };
        // A context is current in a thread, not in a process: the checkpoint's writer has its own.
        engine.stream.context().bind_to_thread().map_err(failed("use the GPU"))?;
        Ok(Some(engine))
    }

    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        // SAFETY: all work goes through one stream, so no use needs to wait for another's event.
        unsafe { device.disable_event_tracking() };
        keep_freed_memory(&stream).map_err(failed("set the memory pool"))?;
        super::product::keep_sums_wide(device)?;
        let outbox =
            Outbox::new(stream.context()).map_err(failed("allocate page-locked memory"))?;
        Ok(Self {
            device: device.clone(),
            stream,
            modules: Mutex::default(),
            functions: Mutex::default(),
            outbox: Mutex::new(outbox),
            pages: Mutex::default(),
            clock: Clock::default(),
        })
    }

    /// See [`crate::begin_profile`].
    pub(crate) fn start_clock(&self) {
        self.clock.start();
    }

    /// See [`crate::unprofiled`].
    pub(crate) fn pause_clock<R>(&self, f: impl FnOnce() -> R) -> R {
        self.clock.pause(f)
    }

    /// See [`crate::end_profile`].
    pub(crate) fn stop_clock(&self) -> Result<Vec<KernelTime>> {
        self.clock.stop()
    }

    /// Where the numbers of a contiguous tensor on this device begin.
    pub(crate) fn at(&self, tensor: &Tensor) -> Result<Address> {
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cuda(storage), true) = (&*storage, layout.is_contiguous()) else {
            return Err(Error::Device {
                found: format!("{:?} on {:?}", tensor, tensor.device().location()),
            });
        };
        // The guard of the pointer orders streams, and there is one alone.
        let (pointer, size) = match tensor.dtype() {
            DType::F32 => (storage.as_cuda_slice::<f32>()?.device_ptr(&self.stream).0, 4),
            DType::BF16 => (storage.as_cuda_slice::<bf16>()?.device_ptr(&self.stream).0, 2),
            DType::U32 => (storage.as_cuda_slice::<u32>()?.device_ptr(&self.stream).0, 4),
            DType::U8 => (storage.as_cuda_slice::<u8>()?.device_ptr(&self.stream).0, 1),
            other => return Err(Error::Device { found: format!("a {other:?} tensor on the GPU") }),
        };
        Ok(Address(pointer).after(layout.start_offset(), size))
    }

    /// Copies words to device memory that the caller owns, and does not wait until they are there.
    pub(crate) fn send(&self, at: Address, words: &[u32]) -> Result<()> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let sent = self.outbox.lock().send(&self.stream, at.0, &bytes);
        sent.map_err(failed("copy to the GPU"))
    }

    /// Copies bytes to the device.
    #[cfg(test)]
    pub(crate) fn write(&self, at: Address, bytes: &[u8]) -> Result<()> {
        // SAFETY: the caller owns that much memory there.
        unsafe { result::memcpy_htod_async(at.0, bytes, self.stream.cu_stream()) }
            .map_err(failed("copy to the GPU"))?;
        self.stream.synchronize().map_err(failed("copy to the GPU"))
    }

    /// Copies bytes from the device, after all launches so far.
    #[cfg(test)]
    pub(crate) fn read(&self, at: Address, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        // SAFETY: the caller owns that much memory there.
        unsafe { result::memcpy_dtoh_async(&mut bytes, at.0, self.stream.cu_stream()) }
            .map_err(failed("copy from the GPU"))?;
        self.stream.synchronize().map_err(failed("copy from the GPU"))?;
        Ok(bytes)
    }

    fn function(&self, launch: &Launch) -> Result<CudaFunction> {
        let mut functions = self.functions.lock();
        if let Some(function) = functions.get(&launch.kernel) {
            return Ok(function.clone());
        }
        let mut modules = self.modules.lock();
        if !modules.contains_key(launch.file) {
            let code = module(launch.file).expect("each kernel's file is listed").to_vec();
            let loaded = self.stream.context().load_module(Ptx::from_binary(code));
            modules.insert(launch.file, loaded.map_err(|error| self.not_loaded(error))?);
        }
        let function = modules[launch.file].load_function(&launch.kernel);
        let function = function.map_err(failed(&launch.kernel))?;
        if launch.shared > SHARED_BYTES {
            self.check_shared(launch)?;
            let name = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let wanted = launch.shared as i32;
            function.set_attribute(name, wanted).map_err(failed(&launch.kernel))?;
        }
        functions.insert(launch.kernel.clone(), function.clone());
        Ok(function)
    }

    /// Whether a block of this GPU has so much shared memory: an RTX 4090 has less than an A100.
    fn check_shared(&self, launch: &Launch) -> Result<()> {
        let most = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let found = self.stream.context().attribute(most).map_err(failed(&launch.kernel))?;
        let (kernel, wanted) = (launch.kernel.clone(), launch.shared);
        match u32::try_from(found) {
            Ok(found) if found >= wanted => Ok(()),
            _ => Err(Error::SharedMemory { kernel, found, wanted }),
        }
    }

    fn not_loaded(&self, error: DriverError) -> Error {
        let (major, minor) = self.stream.context().compute_capability().unwrap_or_default();
        Error::Kernels { architecture: format!("sm_{major}{minor}"), message: said(error) }
    }
}

/// Freed memory stays with the process: a step asks again for what the last one freed.
fn keep_freed_memory(stream: &CudaStream) -> std::result::Result<(), DriverError> {
    let context = stream.context();
    context.bind_to_thread()?;
    let everything = u64::MAX;
    // SAFETY: the pool belongs to the device that was just made current; the attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw const everything).cast_mut().cast::<c_void>(),
        )
        .result()
    }
}

pub(super) fn failed(what: &str) -> impl FnOnce(DriverError) -> Error {
    let what = what.to_owned();
    move |error| Error::Cuda { what, message: said(error) }
}

/// What the driver says, and its name for it, by which memory that has run out is known.
pub(super) fn said(error: DriverError) -> String {
    match (error.error_string(), error.error_name()) {
        (Ok(text), Ok(name)) => format!("{} ({})", text.to_string_lossy(), name.to_string_lossy()),
        _ => error.to_string(),
    }
}

impl Gpu for Engine {
    type Memory = CudaSlice<u8>;

    fn allocate(&self, bytes: usize) -> Result<CudaSlice<u8>> {
        // SAFETY: kernels write it before they read it.
        unsafe { self.stream.alloc::<u8>(bytes.max(1)) }.map_err(failed("allocate memory"))
    }

    fn upload(&self, words: &[u32]) -> Result<CudaSlice<u8>> {
        let memory = self.allocate(words.len() * 4)?;
        self.send(self.address(&memory), words)?;
        Ok(memory)
    }

    fn address(&self, memory: &CudaSlice<u8>) -> Address {
        Address(memory.device_ptr(&self.stream).0)
    }

    fn zero(&self, at: Address, bytes: usize) -> Result<()> {
        // SAFETY: the caller names memory of this device that it owns.
        unsafe { result::memset_d8_async(at.0, 0, bytes, self.stream.cu_stream()) }
            .map_err(failed("fill memory"))
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        let function = self.function(&launch)?;
        let mut arguments = launch.arguments.clone();
        let mut places: Vec<*mut c_void> = arguments
            .iter_mut()
            .map(|argument| match argument {
                Argument::Address(value) => (&raw mut value.0).cast(),
                Argument::U32(value) => (&raw mut *value).cast(),
                Argument::U64(value) => (&raw mut *value).cast(),
                Argument::F32(value) => (&raw mut *value).cast(),
            })
            .collect();
        let [x, y] = launch.grid;
        let named = || (launch.kernel.clone(), 0.0);
        self.clock.time(&self.stream, named, || {
            // SAFETY: the arguments are those of the kernel (the emulator checks each launch's types),
            // and the addresses are of live memory on this stream.
            unsafe {
                result::launch_kernel(
                    function.cu_function(),
                    (x, y, 1),
                    (launch.threads, 1, 1),
                    launch.shared,
                    self.stream.cu_stream(),
                    &mut places,
                )
            }
            .map_err(failed(&launch.kernel))
        })
    }
}
