//! What can be done with a type, found out where a function is memoized.
//!
//! Each question is a method that several traits offer, for receivers with more or fewer references. The compiler
//! takes the first that fits, so a call with as many references as there are traits gets the best answer that
//! the type allows, also through aliases. A type parameter has only what its bounds say.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::part::{Borrowed, Float};

/// A value that is asked about.
#[derive(Debug)]
pub struct Probe<'a, T: ?Sized>(pub &'a T);

/// A type that is asked about.
#[derive(Debug)]
pub struct TypeOf<T>(pub PhantomData<fn() -> T>);

/// What a cache can hand out again and again.
#[diagnostic::on_unimplemented(
    message = "a memoized function must return something that can be cloned, and `{Self}` cannot",
    label = "every hit hands out a clone of this",
    note = "derive `Clone` for it, or return an `Arc` of it",
    note = "of a `Result`, only what is in `Ok` must be `Clone`"
)]
pub trait HandedOut {}

/// Copies a value: as a whole.
pub trait CopyWhole<R> {
    /// Copies it if that is possible.
    fn scrubjay_copy(&self) -> Option<R>;
}

impl<R: Clone> CopyWhole<R> for &&Probe<'_, R> {
    #[inline]
    fn scrubjay_copy(&self) -> Option<R> {
        Some(self.0.clone())
    }
}

/// Copies a value: what is in `Ok`; an error that is not `Clone` stays with the caller that got it.
pub trait CopyOk<R> {
    /// Copies it if that is possible.
    fn scrubjay_copy(&self) -> Option<R>;
}

impl<T: Clone, E> CopyOk<Result<T, E>> for &Probe<'_, Result<T, E>> {
    #[inline]
    fn scrubjay_copy(&self) -> Option<Result<T, E>> {
        self.0.as_ref().ok().map(|value| Ok(value.clone()))
    }
}

/// Copies a value: not at all, which is an error.
pub trait CopyNothing<R> {
    /// Is never called.
    fn scrubjay_copy(&self) -> Option<R>
    where
        R: HandedOut;
}

impl<R> CopyNothing<R> for Probe<'_, R> {
    fn scrubjay_copy(&self) -> Option<R>
    where
        R: HandedOut,
    {
        None
    }
}

/// Tells failures from successes: `Err` and `None`.
pub trait Failing {
    /// Says whether the value is a failure.
    fn scrubjay_failed(&self) -> bool;
}

impl<T, E> Failing for &Probe<'_, Result<T, E>> {
    #[inline]
    fn scrubjay_failed(&self) -> bool {
        self.0.is_err()
    }
}

impl<T> Failing for &Probe<'_, Option<T>> {
    #[inline]
    fn scrubjay_failed(&self) -> bool {
        self.0.is_none()
    }
}

/// Tells failures from successes, for types that have none.
pub trait Unfailing {
    /// Says whether the value is a failure.
    fn scrubjay_failed(&self) -> bool;
}

impl<R> Unfailing for Probe<'_, R> {
    #[inline]
    fn scrubjay_failed(&self) -> bool {
        false
    }
}

/// Shows a value: by `Debug`.
pub trait Shown {
    /// Shows it if that is possible.
    fn scrubjay_show(&self) -> Option<String>;
}

impl<T: Debug + ?Sized> Shown for &Probe<'_, T> {
    fn scrubjay_show(&self) -> Option<String> {
        Some(format!("{:?}", self.0))
    }
}

/// Shows a value: not at all.
pub trait Hidden {
    /// Shows it if that is possible.
    fn scrubjay_show(&self) -> Option<String>;
}

impl<T: ?Sized> Hidden for Probe<'_, T> {
    fn scrubjay_show(&self) -> Option<String> {
        None
    }
}

/// What the closures among the options are given of a returned value: what is in `Ok` or `Some`, or all of it.
pub type View<R, T> = fn(&R) -> Option<&T>;

/// Looks into a type that can be a failure.
pub trait Wrapped<R, T> {
    /// Returns the way to the value inside.
    fn scrubjay_view(&self) -> View<R, T>;
}

impl<T, E> Wrapped<Result<T, E>, T> for &TypeOf<Result<T, E>> {
    fn scrubjay_view(&self) -> View<Result<T, E>, T> {
        |returned| returned.as_ref().ok()
    }
}

impl<T> Wrapped<Option<T>, T> for &TypeOf<Option<T>> {
    fn scrubjay_view(&self) -> View<Option<T>, T> {
        Option::as_ref
    }
}

/// Looks at any other type.
pub trait Bare<R> {
    /// Returns the way to the value itself.
    fn scrubjay_view(&self) -> View<R, R>;
}

impl<R> Bare<R> for TypeOf<R> {
    fn scrubjay_view(&self) -> View<R, R> {
        |returned| Some(returned)
    }
}

/// Takes a part of a `key = …` expression: by what it borrows.
pub trait BorrowedPart<'a, X: ?Sized> {
    /// Returns the part.
    fn scrubjay_part(&self) -> Borrowed<'a, X>;
}

impl<'a, X: ?Sized + ToOwned> BorrowedPart<'a, X> for &&Probe<'a, &X> {
    #[inline]
    fn scrubjay_part(&self) -> Borrowed<'a, X> {
        Borrowed(self.0)
    }
}

/// Takes a part of a `key = …` expression: by its bits.
pub trait FloatPart<'a, F> {
    /// Returns the part.
    fn scrubjay_part(&self) -> Float<'a, F>;
}

impl<'a> FloatPart<'a, f32> for &Probe<'a, f32> {
    #[inline]
    fn scrubjay_part(&self) -> Float<'a, f32> {
        Float(self.0)
    }
}

impl<'a> FloatPart<'a, f64> for &Probe<'a, f64> {
    #[inline]
    fn scrubjay_part(&self) -> Float<'a, f64> {
        Float(self.0)
    }
}

/// Takes a part of a `key = …` expression: as it is.
pub trait OwnedPart<'a, T> {
    /// Returns the part.
    fn scrubjay_part(&self) -> Borrowed<'a, T>;
}

impl<'a, T> OwnedPart<'a, T> for Probe<'a, T> {
    #[inline]
    fn scrubjay_part(&self) -> Borrowed<'a, T> {
        Borrowed(self.0)
    }
}

/// What the cache of a memoized function needs of what it returns, unless it is `local`.
#[diagnostic::on_unimplemented(
    message = "the cache of a memoized function is shared by all threads, and `{Self}` cannot be",
    label = "this is stored in the cache",
    note = "give every thread a cache of its own with `#[memoize(local)]`, or return something that is `Send` and \
            `Sync`"
)]
pub trait Shared {}

/// Checks that values can be shared: they can.
pub trait Sharable {
    /// Does nothing.
    fn scrubjay_share(&self);
}

impl<R: Send + Sync> Sharable for &TypeOf<R> {
    fn scrubjay_share(&self) {}
}

/// Checks that values can be shared: they cannot, which is an error.
pub trait Unsharable<R> {
    /// Does nothing.
    fn scrubjay_share(&self)
    where
        R: Shared;
}

impl<R> Unsharable<R> for TypeOf<R> {
    fn scrubjay_share(&self)
    where
        R: Shared,
    {
    }
}

/// A return type whose errors can be remembered.
#[diagnostic::on_unimplemented(
    message = "`errors` needs a function that returns a `Result`, and this one returns `{Self}`",
    label = "not a `Result` that is `Clone`",
    note = "a remembered error is handed out again, so the `Result` must be `Clone` as a whole"
)]
pub trait RemembersErrors {}

impl<T: Clone, E: Clone> RemembersErrors for Result<T, E> {}

/// A return type whose absence can be remembered.
#[diagnostic::on_unimplemented(
    message = "`none` needs a function that returns an `Option`, and this one returns `{Self}`",
    label = "not an `Option`"
)]
pub trait RemembersNone {}

impl<T: Clone> RemembersNone for Option<T> {}

/// Checks that `errors` has a meaning.
pub fn remembers_errors<R: RemembersErrors>() {}

/// Checks that `none` has a meaning.
pub fn remembers_none<R: RemembersNone>() {}
