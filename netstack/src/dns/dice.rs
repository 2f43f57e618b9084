//! The order in which several addresses come.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Whatever order several addresses come in.
pub(super) trait Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize;
}

/// Good enough to take turns with; what has to be unguessable comes from the kernel.
#[derive(Debug)]
pub(super) struct Xorshift(u64);

impl Dice for Xorshift {
    fn roll(&mut self, sides: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % sides.max(1)
    }
}

impl Xorshift {
    /// Begins somewhere else each time.
    ///
    /// # Errors
    /// The kernel's reason.
    pub(super) fn new() -> io::Result<Self> {
        let mut seed = [1u8; 8];
        getrandom(&mut seed, GetRandomFlags::empty())?;
        Ok(Self(u64::from_ne_bytes(seed) | 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_side_comes_up() {
        let mut dice = Xorshift::new().unwrap();
        let mut seen = [0u32; 6];
        (0..6000).for_each(|_| seen[dice.roll(6)] += 1);
        assert!(seen.iter().all(|n| (500..2000).contains(n)), "{seen:?}");
        assert_eq!(dice.roll(0), 0);
    }
}
