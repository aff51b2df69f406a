//! Training with the optimizer's state in 8 bits.

use albacore_trainer::{End, Error, StateConfig};

use crate::support::{Tiny, wide_model};

fn tiny(state: StateConfig) -> Tiny {
    let mut tiny = Tiny { model: wide_model, ..Default::default() };
    tiny.options.optim.state = state;
    tiny.options.optim.learning_rate = 1e-3;
    tiny
}

/// From 5.5 to 0.003: the tiny LLaMA learns its examples by heart either way, and no loss on the way is
/// further than 0.001 from that of the other.
#[test]
fn a_model_learns_as_much_with_its_moments_in_8_bits() {
    let [wide, narrow] = [StateConfig::F32, StateConfig::Int8].map(|state| {
        let mut tiny = tiny(state);
        tiny.options.train.steps = Some(90);
        tiny.run().unwrap();
        tiny.losses()
    });
    let apart = wide.iter().zip(&narrow).map(|(wide, narrow)| (wide - narrow).abs());
    let worst = apart.fold(0.0, f64::max);
    println!("f32 {:.3} to {:.3}, int8 to {:.3}, {worst:.3} apart", wide[0], wide[89], narrow[89]);
    assert_eq!(wide[0], narrow[0], "nothing is rounded before the first update");
    assert!(narrow[89] < 0.01 * narrow[0]);
    assert!(worst < 0.005, "{worst}");
    assert!(worst > 0.0, "the state was in 8 bits");
}

#[test]
fn a_run_in_8_bits_that_was_stopped_goes_on_to_the_bit() {
    let never = tiny(StateConfig::Int8);
    never.run().unwrap();
    let mut stopped = tiny(StateConfig::Int8);
    for stop in [1, 5] {
        stopped.stop_after = Some(stop);
        assert_eq!(stopped.run().unwrap().end, End::Stopped);
    }
    stopped.stop_after = None;
    assert_eq!(stopped.run().unwrap().end, End::Finished);
    assert!(stopped.bytes(8) == never.bytes(8));
    assert!(never.bytes(8).1.windows(4).any(|bytes| bytes == b"\"U8\""), "there are codes");
}

#[test]
fn a_state_of_the_other_kind_is_refused_with_the_remedy() {
    let mut tiny = tiny(StateConfig::F32);
    tiny.stop_after = Some(2);
    tiny.run().unwrap();
    tiny.stop_after = None;
    tiny.options.optim.state = StateConfig::Int8;
    let error = tiny.run().unwrap_err().to_string();
    let wanted = "`optim.state` was `\"f32\"`, is now `\"int8\"`: the updates would be others";
    assert!(error.ends_with(wanted), "{error}");
    tiny.options.accept_changes = true;
    let error = tiny.run().unwrap_err();
    assert!(error.to_string().ends_with(": it was saved with `optim.state = \"f32\"`"), "{error}");
    assert!(error.hint().unwrap().contains("--set model.path="), "{error:?}");
}

#[test]
fn what_the_cpu_has_not_is_refused() {
    let mut tiny = tiny(StateConfig::F32);
    tiny.options.optim.offload = true;
    tiny.options.train.master_weights = false;
    let Error::Config { problems } = tiny.run().unwrap_err() else { panic!("another error") };
    assert!(problems[0].starts_with("`optim.offload` is true, wanted false on the CPU"));
    assert!(problems[1].starts_with("`train.master_weights` is false, wanted true on the CPU"));
    assert_eq!(problems.len(), 2);
}
