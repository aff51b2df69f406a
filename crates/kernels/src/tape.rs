//! The tape: what the forward pass leaves behind for the backward pass.
//!
//! An operation pushes one closure with what it must remember; [`Tape::backward`] pops the closures
//! in reverse, and each frees what it kept when it returns. The gradient of a value lives in a slot
//! and is moved, not copied, to the operation that made the value; the gradient of a parameter adds
//! up in place in its [`crate::Parameter`]. A tape that does not record (evaluation, generation)
//! keeps nothing, so model code is the same for both.

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::Tensor;

use crate::Result;
use crate::dropout::mixed;
use crate::storage::Like;

/// What the backward pass computes again instead of keeping it from the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// Keep everything: the most memory.
    None,
    /// Compute the outputs of norms, activations and attention again: they are cheap to compute, next
    /// to the products between them, and large to keep.
    #[default]
    Selective,
    /// Keep only each block's input and run the block's forward pass again: the least memory.
    Block,
}

/// A tensor that flows through the model, and the slot of its gradient if it needs one.
#[derive(Clone)]
pub struct Value<'a> {
    tensor: Tensor,
    slot: Option<usize>,
    recipe: Option<Rc<Recipe<'a>>>,
}

impl<'a> Value<'a> {
    /// A value that needs no gradient.
    pub fn constant(tensor: Tensor) -> Self {
        Self { tensor, slot: None, recipe: None }
    }

    /// The numbers.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Where its gradient goes, if one is wanted.
    pub fn slot(&self) -> Option<usize> {
        self.slot
    }

    /// Adds a way to compute the tensor again, if `tape` would rather do that than keep it.
    #[must_use]
    pub fn with_recipe(mut self, tape: &Tape<'a>, build: impl Fn() -> Result<Tensor> + 'a) -> Self {
        if !tape.recording || tape.recompute == Recompute::None {
            return self;
        }
        self.recipe = Some(Rc::new(Recipe { build: Box::new(build), built: RefCell::new(None) }));
        self
    }
}

struct Recipe<'a> {
    build: Box<dyn Fn() -> Result<Tensor> + 'a>,
    built: RefCell<Option<Tensor>>,
}

/// A value kept for the backward pass: the tensor itself, or how to compute it again.
pub enum Kept<'a> {
    #[doc(hidden)]
    Tensor(Tensor),
    #[doc(hidden)]
    Recipe(#[allow(private_interfaces)] Rc<Recipe<'a>>),
}

impl Kept<'_> {
    /// The tensor; computed once even if several operations kept it.
    ///
    /// # Errors
    /// Whatever the computation returns.
    pub fn get(self) -> Result<Tensor> {
        match self {
            Kept::Tensor(tensor) => Ok(tensor),
            Kept::Recipe(recipe) => {
                if let Some(tensor) = recipe.built.borrow().as_ref() {
                    return Ok(tensor.clone());
                }
                let tensor = (recipe.build)()?;
                if Rc::strong_count(&recipe) > 1 {
                    *recipe.built.borrow_mut() = Some(tensor.clone());
                }
                Ok(tensor)
            }
        }
    }
}

/// The gradients of values during a backward pass.
pub struct Slots {
    gradients: Vec<Option<Tensor>>,
}

impl Slots {
    /// Lets `add` contribute to the gradient in `slot`, a tensor `like` the value.
    ///
    /// `add(gradient, accumulate)` adds to `gradient` if `accumulate`, and overwrites all of it if
    /// not. Nothing happens for a value that needs no gradient.
    ///
    /// # Errors
    /// If the buffer cannot be allocated, or whatever `add` returns.
    pub fn accumulate(
        &mut self,
        slot: Option<usize>,
        like: &Like,
        add: impl FnOnce(&Tensor, bool) -> Result<()>,
    ) -> Result<()> {
        let Some(slot) = slot else { return Ok(()) };
        match &self.gradients[slot] {
            Some(gradient) => add(gradient, true),
            None => {
                // SAFETY: `add` overwrites all of it before anyone else sees it.
                let gradient = unsafe { like.clone().empty()? };
                add(&gradient, false)?;
                self.gradients[slot] = Some(gradient);
                Ok(())
            }
        }
    }

    /// Moves a whole gradient into `slot`. The caller must hold its only reference: later
    /// contributions are added to it in place.
    ///
    /// # Errors
    /// If shapes differ from an earlier contribution.
    pub fn give(&mut self, slot: Option<usize>, gradient: Tensor) -> Result<()> {
        let Some(slot) = slot else { return Ok(()) };
        match self.gradients[slot].take() {
            None => self.gradients[slot] = Some(gradient),
            Some(sum) => {
                crate::add::add_in_place(&sum, &gradient)?;
                self.gradients[slot] = Some(sum);
            }
        }
        Ok(())
    }

    /// The gradient of a leaf, if any reached it.
    pub fn of(&self, leaf: &Value<'_>) -> Option<&Tensor> {
        self.gradients[leaf.slot?].as_ref()
    }
}

type Backward<'a> = Box<dyn FnOnce(&mut Slots, Tensor) -> Result<()> + 'a>;

/// The record of one forward pass.
pub struct Tape<'a> {
    entries: Vec<(usize, Backward<'a>)>,
    slots: usize,
    recording: bool,
    recompute: Recompute,
    /// Whether an operation needed a gradient, recording or not.
    needed: bool,
    /// The seed of dropout, and how many dropouts there were; nothing is dropped without.
    dropout: Option<(u64, u64)>,
}

impl<'a> Tape<'a> {
    /// A tape that remembers what a backward pass needs.
    pub fn recording(recompute: Recompute) -> Self {
        let (entries, dropout) = (Vec::new(), None);
        Self { entries, slots: 0, recording: true, recompute, needed: false, dropout }
    }

    /// Lets [`crate::dropout`] drop numbers, which ones by this seed.
    #[must_use]
    pub fn with_dropout_seed(self, seed: u64) -> Self {
        Self { dropout: Some((seed, 0)), ..self }
    }

    /// Whether [`crate::dropout`] drops anything.
    pub fn drops(&self) -> bool {
        self.dropout.is_some()
    }

    /// The key of the next dropout, if there is to be any.
    pub(crate) fn next_dropout(&mut self) -> Option<u64> {
        let (seed, count) = self.dropout.as_mut()?;
        *count += 1;
        Some(mixed(mixed(*seed).wrapping_add(*count)))
    }

    /// A tape that remembers nothing: evaluation and generation.
    pub fn inference() -> Self {
        Self { recording: false, ..Self::recording(Recompute::None) }
    }

    /// Whether a backward pass can follow.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// A value that an operation will need in its backward pass.
    pub fn keep(&self, value: &Value<'a>) -> Kept<'a> {
        match &value.recipe {
            Some(recipe) => Kept::Recipe(recipe.clone()),
            _ => Kept::Tensor(value.tensor.clone()),
        }
    }

    /// Records an operation: `output` needs a gradient if `needed`, and `backward(slots, gradient)`
    /// carries it on to the operation's inputs and parameters.
    pub fn record(
        &mut self,
        output: Tensor,
        needed: bool,
        backward: impl FnOnce(&mut Slots, Tensor) -> Result<()> + 'a,
    ) -> Value<'a> {
        self.record_value(Value::constant(output), needed, backward)
    }

    /// As [`Self::record`], for an output that has its recipe already: `backward` may then keep the
    /// output too, as [`Self::keep`] gives it, and the tensor is computed once for all that kept it.
    pub(crate) fn record_value(
        &mut self,
        output: Value<'a>,
        needed: bool,
        backward: impl FnOnce(&mut Slots, Tensor) -> Result<()> + 'a,
    ) -> Value<'a> {
        self.needed |= needed;
        if !self.recording || !needed {
            return output;
        }
        let slot = self.new_slot();
        self.entries.push((slot, Box::new(backward)));
        Value { slot: Some(slot), ..output }
    }

    /// A value that asks for a gradient and was made by no operation: [`Self::backward`] returns it.
    pub fn leaf(&mut self, tensor: Tensor) -> Value<'a> {
        let slot = self.recording.then(|| self.new_slot());
        Value { tensor, slot, recipe: None }
    }

    /// Runs `block` on `input` and, if this tape recomputes blocks, keeps only `input`: the backward
    /// pass runs `block` again and then back. A block in which nothing is trained, on an input that
    /// needs no gradient, is run once and leaves nothing behind.
    ///
    /// # Errors
    /// Whatever `block` returns.
    pub fn checkpoint(
        &mut self,
        input: &Value<'a>,
        block: impl Fn(&mut Tape<'a>, &Value<'a>) -> Result<Value<'a>> + 'a,
    ) -> Result<Value<'a>> {
        self.checkpoint_of([input], move |tape, [input]| block(tape, input))
    }

    /// As [`Self::checkpoint`], of a block with several inputs: it may use no other values.
    ///
    /// # Errors
    /// Whatever `block` returns.
    pub fn checkpoint_of<const N: usize>(
        &mut self,
        inputs: [&Value<'a>; N],
        block: impl Fn(&mut Tape<'a>, [&Value<'a>; N]) -> Result<Value<'a>> + 'a,
    ) -> Result<Value<'a>> {
        if !self.recording || self.recompute != Recompute::Block {
            return block(self, inputs);
        }
        let (tensors, slots_of) =
            (inputs.map(|input| input.tensor.clone()), inputs.map(|input| input.slot));
        let dropout = self.dropout;
        let mut trial = Tape { dropout, ..Tape::inference() };
        let constants = tensors.clone().map(Value::constant);
        let output = block(&mut trial, constants.each_ref())?.tensor;
        self.dropout = trial.dropout;
        // On constants, only a trained parameter makes an operation need a gradient.
        let needed = slots_of.iter().any(Option::is_some) || trial.needed;
        Ok(self.record(output, needed, move |slots, gradient| {
            let mut tape = Tape { dropout, ..Tape::recording(Recompute::Selective) };
            let mut of = slots_of.iter();
            let inputs = tensors.map(|tensor| match of.next().expect("one slot an input") {
                Some(_) => tape.leaf(tensor),
                None => Value::constant(tensor),
            });
            let output = block(&mut tape, inputs.each_ref())?;
            let mut inner = tape.backward(&output, gradient)?;
            for (input, slot) in inputs.iter().zip(slots_of) {
                if let Some(gradient) = input.slot.and_then(|leaf| inner.gradients[leaf].take()) {
                    slots.give(slot, gradient)?;
                }
            }
            Ok(())
        }))
    }

    /// Goes back through the tape from `output`, whose gradient is `seed`.
    ///
    /// Parameters' gradients are in their parameters afterwards; the returned slots hold those of
    /// the leaves.
    ///
    /// # Errors
    /// Whatever the operations' backward passes return.
    pub fn backward(self, output: &Value<'a>, seed: Tensor) -> Result<Slots> {
        let mut slots = Slots { gradients: vec![None; self.slots] };
        if let Some(slot) = output.slot {
            slots.gradients[slot] = Some(seed);
        }
        for (slot, backward) in self.entries.into_iter().rev() {
            if let Some(gradient) = slots.gradients[slot].take() {
                backward(&mut slots, gradient)?;
            }
        }
        Ok(slots)
    }

    fn new_slot(&mut self) -> usize {
        self.slots += 1;
        self.slots - 1
    }
}
