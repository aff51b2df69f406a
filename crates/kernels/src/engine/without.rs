//! The engine of a build for the CPU alone: it compiles, and never runs.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::Operand;
use crate::launch::{Address, Gpu, Launch};
use crate::{KernelTime, Result};

/// No value of this type exists in a build for the CPU alone.
pub(crate) enum Engine {}

/// Nor is there memory on a GPU.
pub(crate) enum Memory {}

/// Nor does anything arrive from one.
pub(crate) enum Arriving {}

impl Arriving {
    pub(crate) fn new(engine: Arc<Engine>, _: &Tensor) -> Result<Self> {
        match *engine {}
    }

    pub(crate) fn wait(&self) -> Result<Vec<f32>> {
        match *self {}
    }
}

/// Nor memory of the host for one.
pub(crate) enum Pinned {}

impl Pinned {
    pub(crate) fn zeros(gpu: &Engine, _: usize) -> Result<Self> {
        match *gpu {}
    }

    pub(crate) fn at(&self) -> Address {
        match *self {}
    }

    pub(crate) fn read<R>(&self, _: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match *self {}
    }

    pub(crate) fn write<R>(&self, _: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        match *self {}
    }
}

impl Engine {
    /// Always `None`: tensors are on the CPU.
    pub(crate) fn of(_: &Device) -> Result<Option<Arc<Self>>> {
        Ok(None)
    }

    pub(crate) fn at(&self, _: &Tensor) -> Result<Address> {
        match *self {}
    }

    pub(crate) fn start_clock(&self) {
        match *self {}
    }

    pub(crate) fn pause_clock<R>(&self, _: impl FnOnce() -> R) -> R {
        match *self {}
    }

    pub(crate) fn stop_clock(&self) -> Result<Vec<KernelTime>> {
        match *self {}
    }

    pub(crate) fn send(&self, _: Address, _: &[u32]) -> Result<()> {
        match *self {}
    }

    pub(crate) fn product(
        &self,
        _: &Tensor,
        _: Operand,
        _: Operand,
        _: [usize; 3],
        _: bool,
    ) -> Result<()> {
        match *self {}
    }
}

impl Gpu for Engine {
    type Memory = Memory;

    fn allocate(&self, _: usize) -> Result<Memory> {
        match *self {}
    }

    fn upload(&self, _: &[u32]) -> Result<Memory> {
        match *self {}
    }

    fn address(&self, _: &Memory) -> Address {
        match *self {}
    }

    fn zero(&self, _: Address, _: usize) -> Result<()> {
        match *self {}
    }

    fn launch(&self, _: Launch) -> Result<()> {
        match *self {}
    }
}
