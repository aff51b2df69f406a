//! Scoring on all cores: LMentry makes its patterns anew for every example, which takes about a millisecond.

use std::thread;

/// Fewest items that are worth a thread.
const FEWEST: usize = 64;

/// `act` of every item, in their order.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(items.len() / FEWEST);
    if threads < 2 {
        return items.iter().map(act).collect();
    }
    let act = &act;
    thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(threads));
        let running: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(act).collect::<Vec<_>>())).collect();
        let done = running.into_iter().flat_map(|part| match part.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_and_in_order() {
        for count in [0, 1, 63, 1000, 1001] {
            let items: Vec<_> = (0..count).collect();
            let doubled: Vec<_> = items.iter().map(|item| 2 * item).collect();
            assert_eq!(each(&items, |item| 2 * item), doubled);
        }
    }
}
