//! Asks for memory before it is needed.
//!
//! Always holds: changes nothing but the time that things take.

/// Asks for ownership of the lines of a value without waiting for them.
#[inline(always)]
pub fn fetch_for_writing<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    for line in 0..size_of::<T>().div_ceil(64) {
        let address = std::ptr::from_ref(value)
            .cast::<u8>()
            .wrapping_add(line * 64);
        // SAFETY: a prefetch is a hint: it neither faults nor changes memory, whatever the address.
        unsafe {
            std::arch::asm!(
                "prefetchw [{address}]",
                address = in(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
    let _: &T = value;
}
