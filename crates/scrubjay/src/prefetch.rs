//! Asks the processor early for memory that will be read soon, so that it comes while other work is done.
//!
//! An insertion that evicts reads half a dozen lines that nothing else has near: the victim, its bucket, its ghost's,
//! the newcomer's ghost's, the place of the newcomer. Waiting for them one by one was half of its time.

/// Has the line of an address brought near. Where there is no stable way to ask, nothing happens.
#[inline]
#[allow(
    unsafe_code,
    reason = "a third of the time of an insertion that evicts; see docs/benchmarks.md"
)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has this instruction, and whatever the address, it has no effect but on time.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
