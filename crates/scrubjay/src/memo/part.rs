//! The arguments of a call, as the question for its key.
//!
//! The parts of a key are asked for by reference, so a hit clones nothing; only a call that loads makes the key.
//! Invariant: a part hashes like its owned form, and a tuple of parts like the tuple of their owned forms.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use super::Bits;
use crate::key::Query;

/// One part of a key, borrowed.
pub trait Part {
    /// What is kept of it.
    type Owned: Hash + Eq + 'static;
    /// Feeds the hash that the owned form has.
    fn feed<H: Hasher>(&self, state: &mut H);
    /// Says whether an owned form is this part's.
    fn is(&self, owned: &Self::Owned) -> bool;
    /// Makes the owned form.
    fn own(&self) -> Self::Owned;
}

/// An argument, by its borrowed form: `str` for a `&str`, which is kept as a `String`.
#[derive(Debug)]
pub struct Borrowed<'a, X: ?Sized>(pub &'a X);

impl<X: ?Sized + ToOwned + Hash + Eq> Part for Borrowed<'_, X>
where
    X::Owned: Hash + Eq + 'static,
{
    type Owned = X::Owned;

    #[inline]
    fn feed<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }

    #[inline]
    fn is(&self, owned: &X::Owned) -> bool {
        self.0 == owned.borrow()
    }

    fn own(&self) -> X::Owned {
        self.0.to_owned()
    }
}

/// A float argument, by its bits.
#[derive(Debug)]
pub struct Float<'a, F>(pub &'a F);

impl<F: Copy + 'static> Part for Float<'_, F>
where
    Bits<F>: Hash + Eq,
{
    type Owned = Bits<F>;

    #[inline]
    fn feed<H: Hasher>(&self, state: &mut H) {
        Bits(*self.0).hash(state);
    }

    #[inline]
    fn is(&self, owned: &Bits<F>) -> bool {
        Bits(*self.0) == *owned
    }

    fn own(&self) -> Bits<F> {
        Bits(*self.0)
    }
}

macro_rules! tuples_of_parts {
    ($(($($part:ident . $index:tt),*))*) => {$(
        impl<$($part: Part),*> Part for ($($part,)*) {
            type Owned = ($($part::Owned,)*);

            #[inline]
            #[allow(unused_variables, reason = "the empty tuple has nothing to feed")]
            fn feed<H: Hasher>(&self, state: &mut H) {
                $(self.$index.feed(state);)*
            }

            #[inline]
            #[allow(unused_variables, reason = "the empty tuple has nothing to compare")]
            fn is(&self, owned: &Self::Owned) -> bool {
                true $(&& self.$index.is(&owned.$index))*
            }

            #[allow(clippy::unused_unit, reason = "the owned form of the empty tuple")]
            fn own(&self) -> Self::Owned {
                ($(self.$index.own(),)*)
            }
        }
    )*};
}

// As far as std implements `Hash` and `Eq` for tuples.
tuples_of_parts! {
    ()
    (A.0, B.1)
    (A.0, B.1, C.2)
    (A.0, B.1, C.2, D.3)
    (A.0, B.1, C.2, D.3, E.4)
    (A.0, B.1, C.2, D.3, E.4, F.5)
    (A.0, B.1, C.2, D.3, E.4, F.5, G.6)
    (A.0, B.1, C.2, D.3, E.4, F.5, G.6, I.7)
    (A.0, B.1, C.2, D.3, E.4, F.5, G.6, I.7, J.8)
    (A.0, B.1, C.2, D.3, E.4, F.5, G.6, I.7, J.8, K.9)
    (A.0, B.1, C.2, D.3, E.4, F.5, G.6, I.7, J.8, K.9, L.10)
    (A.0, B.1, C.2, D.3, E.4, F.5, G.6, I.7, J.8, K.9, L.10, M.11)
}

/// The question for a key that is made of this part, or of these.
#[derive(Debug)]
pub struct Asked<P>(pub P);

impl<P: Part> Asked<P> {
    /// Names the type of the key, for callers that cannot write it down.
    pub fn key_type(&self) -> PhantomData<P::Owned> {
        PhantomData
    }
}

impl<P: Part> Query<P::Owned> for Asked<P> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.feed(state);
    }

    #[inline]
    fn matches(&self, key: &P::Owned) -> bool {
        self.0.is(key)
    }

    fn to_key(&self) -> P::Owned {
        self.0.own()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    fn asked_hash(state: &RandomState, part: &impl Part) -> u64 {
        let mut hasher = state.build_hasher();
        part.feed(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn parts_hash_like_their_owned_forms() {
        let state = RandomState::new();
        let parts = (Borrowed("a"), Borrowed(&[1_u8, 2][..]), Float(&1.5_f64));
        let owned: (String, Vec<u8>, Bits<f64>) = ("a".to_owned(), vec![1, 2], Bits(1.5));
        assert_eq!(asked_hash(&state, &parts), state.hash_one(&owned));
        assert!(parts.is(&owned));
        assert_eq!(parts.own(), owned);
        assert_eq!(asked_hash(&state, &()), state.hash_one(()));
    }
}
