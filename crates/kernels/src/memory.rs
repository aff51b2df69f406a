//! How freed memory is kept: a training step frees what the next one asks for again.
//!
//! glibc gives large buffers back to the kernel as soon as they are freed, so every step would map
//! them afresh: the kernel zeroes each page and takes a fault for it, which costs a PyTorch step on
//! the CPU up to 40 % of its time. Here freed buffers stay with the process and are handed out
//! again; peak memory is the same, because a step's buffers are those of the step before.

/// Tells the allocator to keep freed memory. Call it before any thread starts.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    // Large requests come from the heap, not from a mapping of their own ...
    const MAPPINGS: (libc::c_int, libc::c_int) = (libc::M_MMAP_MAX, 0);
    // ... which never shrinks ...
    const TRIM: (libc::c_int, libc::c_int) = (libc::M_TRIM_THRESHOLD, -1);
    // ... and grows by 64 MiB at a time ...
    const GROW: (libc::c_int, libc::c_int) = (libc::M_TOP_PAD, 64 << 20);
    // ... and is one for all threads: what one frees another can use. Threads allocate few, large
    // buffers, so they do not queue for it.
    const ARENAS: (libc::c_int, libc::c_int) = (libc::M_ARENA_MAX, 1);
    for (parameter, value) in [MAPPINGS, TRIM, GROW, ARENAS] {
        // SAFETY: `mallopt` takes two integers; it returns 0 for what it does not know, and then
        // memory is merely managed as usual.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Other allocators keep large buffers by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
