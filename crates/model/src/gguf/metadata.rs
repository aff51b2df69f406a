//! The keys and values at the head of a GGUF file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cursor::{Cursor, Problem};
use crate::{Error, Result};

/// Arrays inside arrays inside arrays: deeper than this is no model.
const DEEPEST: usize = 8;

/// The keys and values of a GGUF file.
#[derive(Debug)]
pub struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

/// A value. Numbers of all widths are held in the widest; arrays as they lie in the file.
#[derive(Debug)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
    Text(String),
    Array(Array),
}

/// An array that was walked once, so its bytes can be decoded without a surprise.
#[derive(Debug)]
struct Array {
    element: Kind,
    len: usize,
    bytes: Box<[u8]>,
}

/// The type of a value, as numbered in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Flag,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Problem> {
        use Kind::*;
        let known = [U8, I8, U16, I16, U32, I32, F32, Flag, Text, Array, U64, I64, F64];
        let number = cursor.u32()?;
        let kind = known.get(number as usize).copied();
        kind.ok_or_else(|| format!("found a value of type {number}, wanted 0 to 12"))
    }

    /// Bytes of a value; for those of varying length, the fewest.
    fn size(self) -> u64 {
        match self {
            Kind::U8 | Kind::I8 | Kind::Flag => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 | Kind::Text => 8,
            Kind::Array => 12,
        }
    }
}

impl Value {
    fn read(cursor: &mut Cursor<'_>, kind: Kind) -> Result<Self, Problem> {
        if kind == Kind::Text {
            return Ok(Value::Text(cursor.text()?));
        }
        if kind == Kind::Array {
            let (element, len) = (Kind::read(cursor)?, cursor.u64()?);
            let start = cursor.position();
            skip(cursor, element, len, 1)?;
            let bytes = cursor.since(start).into();
            return Ok(Value::Array(Array { element, len: len as usize, bytes }));
        }
        let bytes = cursor.take(kind.size())?;
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        // Moves the sign to the top and back, with copies of it.
        let unused = 64 - 8 * kind.size() as u32;
        let signed = (unsigned << unused) as i64 >> unused;
        Ok(match kind {
            Kind::F32 => Value::Float(shortest(f32::from_bits(unsigned as u32))),
            Kind::F64 => Value::Float(f64::from_bits(unsigned)),
            Kind::Flag => Value::Flag(unsigned != 0),
            Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => Value::Signed(signed),
            _ => Value::Unsigned(unsigned),
        })
    }

    fn number(&self) -> Option<f64> {
        match *self {
            Value::Unsigned(number) => Some(number as f64),
            Value::Signed(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        match self {
            Value::Unsigned(number) => number.to_string(),
            Value::Signed(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Text(text) => text.chars().take(60).collect(),
            Value::Array(array) => format!("array of {} {:?}", array.len, array.element),
        }
    }
}

/// The f64 that is written like `number`: 1e-5 stays 1e-5, not 9.99999974737875e-6.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

/// Walks over `len` values without keeping any.
fn skip(cursor: &mut Cursor<'_>, kind: Kind, len: u64, depth: usize) -> Result<(), Problem> {
    if depth > DEEPEST {
        return Err(format!("found arrays nested deeper than {DEEPEST}"));
    }
    match kind {
        Kind::Text => {
            for _ in 0..len {
                let bytes = cursor.u64()?;
                cursor.take(bytes)?;
            }
        }
        Kind::Array => {
            for _ in 0..len {
                let (element, len) = (Kind::read(cursor)?, cursor.u64()?);
                skip(cursor, element, len, depth + 1)?;
            }
        }
        _ => {
            // Too long for u64 is too long for the file.
            cursor.take(len.saturating_mul(kind.size()))?;
        }
    }
    Ok(())
}

impl Metadata {
    pub(super) fn read(path: &Path, cursor: &mut Cursor<'_>, count: u64) -> Result<Self, Problem> {
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let key = cursor.text()?;
            let kind = Kind::read(cursor).map_err(|problem| format!("`{key}`: {problem}"))?;
            let value =
                Value::read(cursor, kind).map_err(|problem| format!("`{key}`: {problem}"))?;
            if values.insert(key.clone(), value).is_some() {
                return Err(format!("key `{key}` stands there twice"));
            }
        }
        Ok(Self { path: path.into(), values })
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// What stands under `key`, for messages.
    pub(super) fn describe(&self, key: &str) -> Option<String> {
        self.values.get(key).map(Value::describe)
    }

    /// Text under `key`, or `None` where there is no such key.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A number under `key`, or `None` where there is no such key.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", Value::number)
    }

    /// A whole number under `key`, or `None` where there is no such key. An array of equal numbers,
    /// one for each block, counts as that number.
    ///
    /// # Errors
    /// If it is something else.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        let whole = |number: f64| {
            let fits = number >= 0.0 && number.fract() == 0.0 && number < u32::MAX.into();
            fits.then_some(number as usize)
        };
        self.get(key, "a whole number", |value| match value {
            Value::Array(array) => {
                let numbers = array.numbers()?;
                let first = *numbers.first()?;
                numbers
                    .iter()
                    .all(|number| *number == first)
                    .then_some(whole(first.into()))
                    .flatten()
            }
            Value::Float(_) => None,
            value => whole(value.number()?),
        })
    }

    /// A token id under `key`, or `None` where there is no such key.
    ///
    /// # Errors
    /// If it is something else.
    pub fn id(&self, key: &str) -> Result<Option<u32>> {
        Ok(self.count(key)?.map(|id| id as u32))
    }

    /// True or false under `key`, or `None` where there is no such key.
    ///
    /// # Errors
    /// If it is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    /// The texts of an array under `key`, or `None` where there is no such key.
    ///
    /// # Errors
    /// If it is something else.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        self.get(key, "an array of texts", |value| match value {
            Value::Array(array) => array.texts(),
            _ => None,
        })
    }

    /// The numbers of an array under `key` as f32, or `None` where there is no such key.
    ///
    /// # Errors
    /// If it is something else.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.get(key, "an array of numbers", |value| match value {
            Value::Array(array) => array.numbers(),
            _ => None,
        })
    }

    fn get<'m, T>(
        &'m self,
        key: &str,
        wanted: &str,
        take: impl FnOnce(&'m Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let taken = take(value).ok_or_else(|| Error::Import {
            path: self.path.clone(),
            problem: format!("`{key}` is `{}`, wanted {wanted}", value.describe()),
            remedy: "convert the original model again, with a llama.cpp of today",
        });
        taken.map(Some)
    }
}

impl Array {
    fn texts(&self) -> Option<Vec<String>> {
        let mut cursor = Cursor::new(&self.bytes);
        (self.element == Kind::Text).then(|| {
            let texts = (0..self.len).map(|_| cursor.text().expect("the array was walked before"));
            texts.collect()
        })
    }

    fn numbers(&self) -> Option<Vec<f32>> {
        let mut cursor = Cursor::new(&self.bytes);
        if matches!(self.element, Kind::Text | Kind::Array | Kind::Flag) {
            return None;
        }
        if self.element == Kind::F32 {
            let words = self.bytes.chunks_exact(4);
            return Some(words.map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect());
        }
        let values = (0..self.len).map(|_| Value::read(&mut cursor, self.element).ok()?.number());
        values.map(|number| number.map(|number| number as f32)).collect()
    }
}
