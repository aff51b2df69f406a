//! Ctrl-C and SIGTERM: the first asks the run to save and stop; a second one ends
//! the process at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::terminal::Terminal;

/// A flag that becomes true when the first signal arrives, which `terminal` says, and `what` is done
/// before the run stops.
///
/// # Errors
/// If the system refuses a signal handler.
pub fn stop_flag(terminal: Terminal, what: &'static str) -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset, so it ends nothing.
        flag::register_conditional_default(signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            terminal.note(&format!("stopping: {what}; a second signal stops at once"));
        }
    });
    Ok(stop)
}
