//! Launches as bytes, as `emulator.cpp` reads them.

use super::place;
use crate::launch::{Address, Argument};

#[derive(Default)]
pub(super) struct Text(pub(super) Vec<u8>);

impl Text {
    pub(super) fn u32(&mut self, value: usize) {
        self.0.extend(u32::try_from(value).unwrap().to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn address(&mut self, address: Address) {
        let (buffer, offset) = place(address);
        self.u32(buffer);
        self.u64(offset as u64);
    }

    pub(super) fn argument(&mut self, argument: Argument) {
        match argument {
            Argument::Address(address) => {
                self.0.push(0);
                self.address(address);
            }
            Argument::U32(value) => {
                self.0.push(2);
                self.u32(value as usize);
            }
            Argument::U64(value) => {
                self.0.push(3);
                self.u64(value);
            }
            Argument::F32(value) => {
                self.0.push(4);
                self.0.extend(value.to_le_bytes());
            }
        }
    }
}
