//! Rotary position embedding (Su et al., 2021, "RoFormer", equation 34), in the half-split layout of
//! Hugging Face's LLaMA: channel `i` of a head turns together with channel `i + D/2`.

use candle_core::Tensor;

use crate::device::rows::{self, Rows};
use crate::engine::{Engine, Mirror};
use crate::error::{expect_indices, expect_shape};
use crate::parallel::for_row_blocks;
use crate::simd::wide;
use crate::{Heads, Result, Tape, Value, storage};

/// Cosines and sines of the angle by which each pair of channels turns at each position.
#[derive(Clone, Debug)]
pub struct Angles {
    cosine: Vec<f32>, // (P, D/2)
    sine: Vec<f32>,   // (P, D/2)
    half_width: usize,
    on_gpu: [Mirror; 2],
}

impl Angles {
    /// Tables of `P` positions, `half_width` pairs of channels (`D/2`) each.
    ///
    /// # Errors
    /// If the tables differ in length or end inside a position.
    pub fn new(cosine: Vec<f32>, sine: Vec<f32>, half_width: usize) -> Result<Self> {
        let positions = cosine.len() / half_width.max(1);
        let wanted = [positions * half_width];
        expect_shape("rope", "the table of cosines", &[cosine.len()], &wanted)?;
        expect_shape("rope", "the table of sines", &[sine.len()], &wanted)?;
        Ok(Self { cosine, sine, half_width, on_gpu: Default::default() })
    }

    /// `P`: how many positions the tables hold.
    pub fn positions(&self) -> usize {
        self.cosine.len() / self.half_width.max(1)
    }

    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half_width..(position + 1) * self.half_width;
        (&self.cosine[range.clone()], &self.sine[range])
    }
}

/// The position of each token of a batch: a row of [`Angles`]. Sent to a GPU for the first layer of the
/// first pass, and the same for all.
#[derive(Clone, Debug)]
pub struct Positions {
    rows: Vec<u32>,
    on_gpu: Mirror,
}

impl From<Vec<u32>> for Positions {
    fn from(rows: Vec<u32>) -> Self {
        Self { rows, on_gpu: Mirror::default() }
    }
}

/// Turns the q and k heads of each row by the angles of its position, in place: `qkv` is used up.
///
/// # Shapes
/// `qkv` `(T, (H + 2G) D)`, `positions` `T` of them; returns the same tensor.
///
/// # Errors
/// If the shapes do not fit, or if a position lies beyond the tables.
pub fn rope<'a>(
    tape: &mut Tape<'a>,
    qkv: Value<'a>,
    heads: Heads,
    angles: &'a Angles,
    positions: &'a Positions,
) -> Result<Value<'a>> {
    let wanted = [positions.rows.len(), heads.channels()];
    expect_shape("rope", "qkv", qkv.tensor().dims(), &wanted)?;
    expect_shape("rope", "an angle table's row", &[2 * angles.half_width], &[heads.width])?;
    expect_indices("rope", "position", &positions.rows, angles.positions())?;
    turn(qkv.tensor(), heads, angles, positions, 1.0)?;
    let slot = qkv.slot();
    Ok(tape.record(qkv.tensor().clone(), slot.is_some(), move |slots, gradient| {
        // The inverse of a rotation is its transpose: the gradient turns the other way.
        turn(&gradient, heads, angles, positions, -1.0)?;
        slots.give(slot, gradient)
    }))
}

/// `(x₁, x₂)` becomes `(x₁ cos - x₂ sin, x₂ cos + x₁ sin)`, with the sine's sign times `direction`.
fn turn(
    qkv: &Tensor,
    heads: Heads,
    angles: &Angles,
    positions: &Positions,
    direction: f32,
) -> Result<()> {
    if let Some(gpu) = Engine::of(qkv.device())? {
        let [cosine, sine] = &angles.on_gpu;
        let tables = [cosine.of(&gpu, &angles.cosine)?, sine.of(&gpu, &angles.sine)?];
        let (positions, _) = positions.on_gpu.of_words(&*gpu, || positions.rows.clone())?;
        let places = [gpu.at(qkv)?, tables[0], tables[1], positions];
        let turning = heads.query + heads.key_value;
        let half = angles.half_width;
        return rows::rope(&*gpu, Rows::of(qkv)?, places, turning, half, direction);
    }
    // q and k lie side by side; v follows and stays as it is.
    let turning = heads.v(0).start;
    storage::write(qkv, |qkv| {
        for_row_blocks(qkv, heads.channels(), |first, block| {
            wide!(|| {
                let rows = block.chunks_mut(heads.channels());
                for (row, &position) in rows.zip(&positions.rows[first..]) {
                    let (cosine, sine) = angles.at(position as usize);
                    for head in row[..turning].chunks_mut(heads.width) {
                        turn_head(head, cosine, sine, direction);
                    }
                }
            });
        });
        Ok(())
    })
}

#[inline(always)]
fn turn_head(head: &mut [f32], cosine: &[f32], sine: &[f32], direction: f32) {
    let (x1, x2) = head.split_at_mut(cosine.len());
    for ((x1, x2), (cosine, sine)) in x1.iter_mut().zip(x2).zip(cosine.iter().zip(sine)) {
        let sine = direction * sine;
        (*x1, *x2) = (*x1 * cosine - *x2 * sine, *x2 * cosine + *x1 * sine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{floats, numbers, prove, tensor, wider};

    fn angles(positions: usize, half_width: usize) -> Angles {
        let (cosine, sine) = numbers(positions * half_width, 5)
            .into_iter()
            .map(|angle| ((3.0 * angle).cos(), (3.0 * angle).sin()))
            .unzip();
        Angles::new(cosine, sine, half_width).unwrap()
    }

    /// The specification.
    fn reference(qkv: &[f64], heads: Heads, angles: &Angles, positions: &[u32]) -> Vec<f64> {
        let mut out = qkv.to_vec();
        let half = heads.width / 2;
        for (row, &position) in positions.iter().enumerate() {
            for head in 0..heads.query + heads.key_value {
                for pair in 0..half {
                    let first = row * heads.channels() + head * heads.width + pair;
                    let angle = position as usize * half + pair;
                    let (cosine, sine) = (wider(&angles.cosine)[angle], wider(&angles.sine)[angle]);
                    out[first] = qkv[first] * cosine - qkv[first + half] * sine;
                    out[first + half] = qkv[first + half] * cosine + qkv[first] * sine;
                }
            }
        }
        out
    }

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for (tokens, query, key_value, width) in [(1, 1, 1, 2), (3, 4, 2, 6), (70, 2, 1, 2)] {
            let heads = Heads { query, key_value, width };
            let angles = angles(9, width / 2);
            let positions: Vec<u32> = (0..tokens as u32).map(|token| token * 7 % 9).collect();
            let given = Positions::from(positions.clone());
            let qkv = tensor((tokens, heads.channels()), 1);
            let reference = |given: &[Vec<f64>]| reference(&given[0], heads, &angles, &positions);
            prove("rope", &[qkv], &[], reference, |tape, leaves| {
                rope(tape, leaves[0].clone(), heads, &angles, &given)
            });
        }
    }

    #[test]
    fn it_works_where_the_projection_lies() {
        let heads = Heads { query: 1, key_value: 1, width: 2 };
        let angles = Angles::new(vec![0.0], vec![1.0], 1).unwrap();
        let qkv =
            candle_core::Tensor::new(&[[1f32, 2., 3., 4., 5., 6.]], &candle_core::Device::Cpu);
        let qkv = Value::constant(qkv.unwrap());
        let positions = vec![0].into();
        rope(&mut Tape::inference(), qkv.clone(), heads, &angles, &positions).unwrap();
        assert_eq!(floats(qkv.tensor()), [-2., 1., -4., 3., 5., 6.]);
    }

    #[test]
    fn a_position_beyond_the_tables_is_refused_before_anything_is_changed() {
        let heads = Heads { query: 1, key_value: 1, width: 2 };
        let qkv = Value::constant(tensor((2, 6), 1));
        let angles = angles(4, 1);
        let positions = vec![0, 4].into();
        let error = rope(&mut Tape::inference(), qkv.clone(), heads, &angles, &positions);
        let message = error.err().unwrap().to_string();
        assert_eq!(message, "rope: position 4 is out of range, there are 4");
        assert_eq!(floats(qkv.tensor()), numbers(12, 1));
    }
}
