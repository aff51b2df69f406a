//! Curves for TensorBoard: an `events.out.tfevents.*` file with scalars.
//!
//! The file is a list of records, and each record's content is an `Event` in the protocol buffers'
//! wire format, of which four fields are needed:
//!
//! ```text
//! record:  length u64 | masked crc32c of these 8 bytes | content | masked crc32c of the content
//! Event:   1 wall_time (double)  2 step (varint)  3 file_version (string)  5 summary (message)
//! Summary: 1 value (message)     Value: 1 tag (string)  2 simple_value (float)
//! ```

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

/// Writes scalars to one events file.
pub(crate) struct Events {
    file: BufWriter<File>,
    path: PathBuf,
}

const PREFIX: &str = "events.out.tfevents.";

impl Events {
    /// Starts a file in `folder`, in place of any that are there.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let reading = Error::file("read folder", folder);
        for entry in fs::read_dir(folder).map_err(reading)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_file(entry.path()).map_err(Error::file("remove", &entry.path()))?;
            }
        }
        let now = SystemTime::now();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let path = folder.join(format!("{PREFIX}{}.{host}", seconds(now) as u64));
        let file = File::create(&path).map_err(Error::file("write", &path))?;
        let mut events = Self::to(file, path);
        let mut version = event(now, 0);
        bytes(&mut version, 3, b"brain.Event:2");
        events.record(&version)?;
        Ok(events)
    }

    /// Writes to an open file.
    pub(crate) fn to(file: File, path: PathBuf) -> Self {
        Self { file: BufWriter::new(file), path }
    }

    /// Adds the values of one step, measured at `time`.
    pub(crate) fn write<'n>(
        &mut self,
        time: SystemTime,
        step: u64,
        scalars: impl IntoIterator<Item = (&'n str, f64)>,
    ) -> Result<()> {
        let mut summary = Vec::new();
        for (name, value) in scalars {
            let mut scalar = Vec::new();
            bytes(&mut scalar, 1, name.as_bytes());
            scalar.push(2 << 3 | 5); // 5: four bytes follow
            scalar.extend((value as f32).to_le_bytes());
            bytes(&mut summary, 1, &scalar);
        }
        let mut content = event(time, step);
        bytes(&mut content, 5, &summary);
        self.record(&content)
    }

    /// Hands everything to the system.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::file("write", &self.path))
    }

    fn record(&mut self, content: &[u8]) -> Result<()> {
        let length = (content.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(content);
        record.extend(masked_crc(content).to_le_bytes());
        self.file.write_all(&record).map_err(Error::file("write", &self.path))
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

fn event(time: SystemTime, step: u64) -> Vec<u8> {
    let mut content = vec![1 << 3 | 1]; // 1: eight bytes follow
    content.extend(seconds(time).to_le_bytes());
    content.push(2 << 3); // 0: a varint follows
    varint(&mut content, step);
    content
}

/// A field of text or of a message: 2, then the length, then the content.
fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The checksum of the records: rotated and shifted, so that it may itself be checked.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial, bit by bit: records are short.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of RFC 3720, appendix B.4.
    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    /// ```python
    /// from tensorboard.compat.proto.event_pb2 import Event
    /// from tensorboard.compat.proto.summary_pb2 import Summary
    /// value = Summary.Value(tag="loss", simple_value=0.5)
    /// print(Event(wall_time=1.5, step=300, summary=Summary(value=[value])).SerializeToString().hex())
    /// ```
    #[test]
    fn a_scalar_has_the_bytes_that_tensorboard_writes() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path()).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs_f64(1.5);
        events.write(time, 300, [("loss", 0.5)]).unwrap();
        events.flush().unwrap();
        let written = fs::read(&events.path).unwrap();
        let hex = written.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let content = "09000000000000f83f10ac022a0d0a0b0a046c6f7373150000003f";
        assert_eq!(&hex[hex.len() - 8 - content.len()..hex.len() - 8], content);
        assert_eq!(&hex[hex.len() - 8 - content.len() - 24..][..16], "1b00000000000000");
    }

    #[test]
    fn a_new_file_takes_the_place_of_the_old() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("events.out.tfevents.1.old"), "").unwrap();
        fs::write(folder.path().join("metrics.jsonl"), "").unwrap();
        Events::create(folder.path()).unwrap();
        assert!(!folder.path().join("events.out.tfevents.1.old").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
