//! Ctrl-C and SIGTERM: the first asks the run to save and stop; a second one ends the process at once.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::terminal::Terminal;

/// The flag of this process, once there is one, and what is done now before the process stops: a recipe
/// runs several commands, one after the other.
static STOP: Mutex<Option<Stop>> = Mutex::new(None);

struct Stop {
    flag: Arc<AtomicBool>,
    what: &'static str,
}

/// A flag that becomes true when the first signal arrives, which `terminal` says, and `what` is done
/// before the run stops.
///
/// # Errors
/// If the system refuses a signal handler.
pub fn stop_flag(terminal: Terminal, what: &'static str) -> std::io::Result<Arc<AtomicBool>> {
    let mut stop = STOP.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stop) = stop.as_mut() {
        stop.what = what;
        return Ok(stop.flag.clone());
    }
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset, so it ends nothing.
        flag::register_conditional_default(signal, Arc::clone(&flag))?;
        flag::register(signal, Arc::clone(&flag))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let stop = STOP.lock().unwrap_or_else(PoisonError::into_inner);
            let what = stop.as_ref().map_or("", |stop| stop.what);
            terminal.note(&format!("stopping: {what}; a second signal stops at once"));
        }
    });
    *stop = Some(Stop { flag: flag.clone(), what });
    Ok(flag)
}
