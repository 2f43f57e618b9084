//! What a container must not be able to do.

use crate::Test;

pub const TESTS: &[Test] = &[];
