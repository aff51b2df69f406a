//! Results that are asked for now and read later, so that a GPU never waits for the host to look.

use candle_core::Tensor;

use crate::engine::{Arriving, Engine};
use crate::{Result, storage};

/// A result that may still be on its way from a device.
pub struct Later<T>(State<T>);

enum State<T> {
    Here(T),
    OnItsWay(Arriving, fn(Vec<f32>) -> T),
}

impl<T> Later<T> {
    /// A result that is there.
    pub fn here(result: T) -> Self {
        Self(State::Here(result))
    }

    /// What `read` makes of the numbers of a contiguous f32 tensor as they will be after all
    /// operations so far. On the CPU they are there already.
    ///
    /// # Errors
    /// If the tensor is strided or of another type, or the device fails.
    pub fn of(tensor: &Tensor, read: fn(Vec<f32>) -> T) -> Result<Self> {
        match Engine::of(tensor.device())? {
            None => Ok(Self::here(read(storage::to_vec(tensor)?))),
            Some(gpu) => Ok(Self(State::OnItsWay(Arriving::new(gpu, tensor)?, read))),
        }
    }

    /// The result; waits for it if it is not there yet.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn get(self) -> Result<T> {
        match self.0 {
            State::Here(result) => Ok(result),
            State::OnItsWay(numbers, read) => Ok(read(numbers.wait()?)),
        }
    }
}

impl<T> std::fmt::Debug for Later<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            State::Here(_) => "here",
            State::OnItsWay(..) => "on its way",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{floats, tensor};

    #[test]
    fn numbers_are_those_of_when_they_were_asked_for() {
        let numbers = tensor(5, 1);
        let wanted = floats(&numbers);
        let later = Later::of(&numbers, |numbers| numbers).unwrap();
        storage::overwrite(&numbers, vec![0.0; 5]).unwrap();
        assert_eq!(later.get().unwrap(), wanted);
    }
}
