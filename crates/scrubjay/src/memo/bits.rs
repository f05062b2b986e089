//! Floats as keys: by their bits.
//!
//! Invariant: two are equal exactly if their bits are, so equality is an equivalence and agrees with the hash.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A float that is compared and hashed by its bits; what `f32` and `f64` arguments are in the keys of a
/// memoized function.
///
/// So a NaN equals the same NaN and is found again, and `-0.0` and `0.0` are two keys.
///
/// # Example
///
/// ```
/// use scrubjay::{Bits, memoize};
///
/// #[memoize]
/// fn half(x: f64) -> f64 {
///     x / 2.0
/// }
///
/// assert_eq!(half(3.0), 1.5);
/// assert!(half::invalidate(&Bits(3.0)));
/// assert_eq!(Bits(f64::NAN), Bits(f64::NAN));
/// assert_ne!(Bits(0.0), Bits(-0.0));
/// ```
#[derive(Clone, Copy, Default)]
pub struct Bits<F>(pub F);

macro_rules! compare_by_bits {
    ($($float:ty),*) => {$(
        impl PartialEq for Bits<$float> {
            fn eq(&self, other: &Self) -> bool {
                self.0.to_bits() == other.0.to_bits()
            }
        }

        impl Eq for Bits<$float> {}

        impl Hash for Bits<$float> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.to_bits().hash(state);
            }
        }

        /// As its bits, so that every format keeps them.
        #[cfg(any(feature = "snapshot", feature = "disk"))]
        impl serde::Serialize for Bits<$float> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.to_bits().serialize(serializer)
            }
        }

        #[cfg(any(feature = "snapshot", feature = "disk"))]
        impl<'de> serde::Deserialize<'de> for Bits<$float> {
            fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(source).map(|bits| Self(<$float>::from_bits(bits)))
            }
        }

        impl From<$float> for Bits<$float> {
            fn from(float: $float) -> Self {
                Self(float)
            }
        }

        impl From<Bits<$float>> for $float {
            fn from(bits: Bits<$float>) -> Self {
                bits.0
            }
        }
    )*};
}

compare_by_bits!(f32, f64);

impl<F: fmt::Debug> fmt::Debug for Bits<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<F: fmt::Display> fmt::Display for Bits<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
