//! Giving memory back: the supervisor lives as long as its container, so what
//! start-up needed must not stay resident.

/// Returns free heap pages to the kernel (malloc_trim(3)).
pub fn trim_heap() {
    // SAFETY: malloc_trim only walks glibc's own arenas under its own locks; it
    // takes no pointer from us. 0 asks it to keep no slack at the top.
    unsafe { libc::malloc_trim(0) };
}
