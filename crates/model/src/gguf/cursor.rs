//! Reading a header of which nothing is believed: every length is compared with what is left of the
//! file before anything is done with it.

/// What is wrong with a header: found and wanted, without the name of the file.
pub(super) type Problem = String;

/// A place in the bytes of a file.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The bytes read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], Problem> {
        let left = self.bytes.len() - self.at;
        if len > left as u64 {
            return Err(format!(
                "at byte {} it needs {len} more bytes, the file has {left}",
                self.at
            ));
        }
        let taken = &self.bytes[self.at..][..len as usize];
        self.at += len as usize;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        Ok(self.take(N as u64)?.try_into().expect("as many bytes as were asked for"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length and as many bytes. Some writers store invalid UTF-8 or a closing zero: both are
    /// mended.
    pub(super) fn text(&mut self) -> Result<String, Problem> {
        let len = self.u64()?;
        let text = String::from_utf8_lossy(self.take(len)?);
        Ok(text.trim_end_matches('\0').to_owned())
    }
}
