//! What cannot be memoized, and options that make no sense: refused here, where the reason can be said.
//!
//! Invariant: every message says what is wrong, why, and what to do instead, at the tokens that are wrong. What
//! depends on types (whether they can be cloned, hashed, shared) is left to the compiler.

use std::time::Duration;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Error, Expr, ExprLit, ExprUnary, GenericParam, Lit, Result, Type, UnOp};

use crate::function::{Arg, Function};
use crate::options::{Options, Time};

/// The policies that can be named without their path.
pub const POLICIES: [&str; 3] = ["Adaptive", "Lru", "Fifo"];

/// The most parts of a key: as many as tuples in std may have to be hashed.
const MOST_PARTS: usize = 12;

/// Checks a function and its options together; all complaints come at once.
pub fn validate(function: &Function<'_>, options: &Options) -> Result<()> {
    let mut found = Complaints(None);
    check_qualifiers(function, &mut found);
    for arg in &function.args {
        check_argument(arg, options, &mut found);
    }
    check_output(function, &mut found);
    check_names(function, options, &mut found);
    check_pairs(function, options, &mut found);
    check_times(options, &mut found);
    check_jitter(options, &mut found);
    check_policy(options, &mut found);
    found.0.map_or(Ok(()), Err)
}

struct Complaints(Option<Error>);

impl Complaints {
    fn add(&mut self, span: Span, message: impl std::fmt::Display) {
        let error = Error::new(span, message);
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }
}

fn check_qualifiers(function: &Function<'_>, found: &mut Complaints) {
    let sig = &function.item.sig;
    if let Some(token) = &sig.constness {
        found.add(
            token.span(),
            "a `const fn` cannot be memoized: there is no cache while the program is compiled; remove `const`",
        );
    }
    if !matches!(sig.safety, syn::Safety::Default) {
        found.add(
            sig.safety.span(),
            "an `unsafe fn` cannot be memoized: what its caller promises is about one call, and a hit answers \
             another; memoize a safe function around it",
        );
    }
    if let Some(abi) = &sig.abi {
        found.add(
            abi.span(),
            "an `extern fn` cannot be memoized: a miss may panic or wait, which foreign callers do not expect; \
             memoize a Rust function and call it from this one",
        );
    }
    if let Some(variadic) = &sig.variadic {
        found.add(variadic.span(), "variadic arguments cannot be a key");
    }
}

fn check_argument(arg: &Arg, options: &Options, found: &mut Complaints) {
    let mut finder = Finder::default();
    finder.visit_type(&arg.ty);
    if let Some(span) = finder.mutable {
        found.add(
            span,
            "a `&mut` argument cannot be memoized: a hit would not change it; take it by value or by `&`, and \
             return what changes",
        );
        return;
    }
    if let Some(span) = finder.impl_trait {
        found.add(
            span,
            "an `impl Trait` argument cannot be memoized: its type has no name; name it with a type parameter, \
             as in `fn f<T: Trait>(argument: T)`",
        );
        return;
    }
    if arg.is_ignored || options.key.is_some() {
        return;
    }
    let mut inner = Finder::default();
    inner.visit_type(arg.target());
    if let Some(span) = inner.borrow {
        found.add(
            span,
            "this argument borrows inside its type, so it cannot be kept in a key; say what is, with \
             `key = …`, or take it by reference or owned",
        );
    }
}

fn check_output(function: &Function<'_>, found: &mut Complaints) {
    let mut finder = Finder::default();
    finder.visit_type(&function.output);
    if let Some(span) = finder.impl_trait {
        found.add(
            span,
            "a function that returns `impl Trait` cannot be memoized: the cache must name what it holds; \
             return a named type, or a `Box` or `Arc` of `dyn Trait` (and for a future, write `async fn`)",
        );
    } else if let Some(span) = finder.mutable.or(finder.borrow) {
        found.add(
            span,
            "a function that returns a borrow cannot be memoized: the cache outlives what is borrowed; return an \
             owned value, or an `Arc`",
        );
    } else if let Type::Never(never) = &function.output {
        found.add(
            never.span(),
            "a function that never returns has nothing to memoize",
        );
    }
}

/// Finds what types must not have; each at its first place.
#[derive(Default)]
struct Finder {
    impl_trait: Option<Span>,
    mutable: Option<Span>,
    borrow: Option<Span>,
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        self.impl_trait.get_or_insert(ty.span());
    }

    fn visit_type_reference(&mut self, ty: &'ast syn::TypeReference) {
        if ty.mutability.is_some() {
            self.mutable.get_or_insert(ty.span());
        }
        if ty.lifetime.is_none() {
            self.borrow.get_or_insert(ty.span());
        }
        visit::visit_type_reference(self, ty);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if lifetime.ident != "static" {
            self.borrow.get_or_insert(lifetime.span());
        }
    }

    // What functions take and return says nothing about what the value holds.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}

    fn visit_parenthesized_generic_arguments(
        &mut self,
        _: &'ast syn::ParenthesizedGenericArguments,
    ) {
    }

    // `for<'a>` names lifetimes of its own.
    fn visit_trait_bound(&mut self, bound: &'ast syn::TraitBound) {
        if bound.lifetimes.is_none() {
            visit::visit_trait_bound(self, bound);
        }
    }
}

fn check_names(function: &Function<'_>, options: &Options, found: &mut Complaints) {
    for ignored in &options.ignore {
        if !function.args.iter().any(|arg| arg.name == *ignored) {
            found.add(ignored.span(), unknown_argument(function, ignored));
        }
    }
    let keyed = function.keyed().count();
    if options.key.is_none() && keyed > MOST_PARTS {
        found.add(
            function.item.sig.inputs.span(),
            format!("{keyed} arguments are too many for a key, which has at most {MOST_PARTS} parts; use `key = …`"),
        );
    }
    if let Some(Expr::Tuple(key)) = &options.key
        && key.elems.len() > MOST_PARTS
    {
        let message =
            format!("a key has at most {MOST_PARTS} parts; put some into a tuple of their own");
        found.add(key.span(), message);
    }
}

fn unknown_argument(function: &Function<'_>, ignored: &syn::Ident) -> String {
    let named = function
        .args
        .iter()
        .filter(|arg| arg.is_self || !arg.is_destructured());
    let names: Vec<String> = named.map(|arg| format!("`{}`", arg.name)).collect();
    let advice = if names.is_empty() {
        "the function has no named argument".to_owned()
    } else {
        format!("there is {}", names.join(", "))
    };
    format!("no argument is called `{ignored}`; {advice}")
}

fn check_pairs(function: &Function<'_>, options: &Options, found: &mut Complaints) {
    if options.key.is_some()
        && let Some(ignored) = options.ignore.first()
    {
        found.add(
            ignored.span(),
            "`ignore` and `key` exclude each other: what `key` does not mention is not in the key anyway",
        );
    }
    if let Some(span) = options.local
        && function.is_async()
    {
        found.add(
            span,
            "`local` is for functions that are not async: a task may move to another thread while it waits",
        );
    }
    if let Some(disk) = &options.disk
        && !cfg!(feature = "disk")
    {
        found.add(
            disk.span(),
            "`disk` needs the feature `disk` of scrubjay, which is off; turn it on with \
             `cargo add scrubjay --features disk`",
        );
    }
    if let (Some(version), Some(_)) = (&options.version, &options.code) {
        found.add(
            version.span(),
            "`version` and `code` exclude each other: a version stands in for the code already",
        );
    }
    if let (Some(_), Some(span)) = (options.in_impl, options.in_trait) {
        found.add(span, "`in_impl` and `in_trait` exclude each other");
    }
    if let (Some(_), Some((_, span))) = (
        &options.errors,
        options.none.as_ref().and_then(known_or_here),
    ) {
        found.add(
            span,
            "`errors` is for `Result` and `none` is for `Option`; a function returns one of them",
        );
    }
}

/// The span of a time, however it was given.
fn known_or_here(time: &Time) -> Option<(Duration, Span)> {
    match time {
        Time::Known(duration, span) => Some((*duration, *span)),
        Time::Computed(expr) => Some((Duration::MAX, expr.span())),
    }
}

fn check_times(options: &Options, found: &mut Complaints) {
    let limits = [
        ("ttl", &options.ttl),
        ("idle", &options.idle),
        ("refresh", &options.refresh),
        ("errors", &options.errors),
        ("none", &options.none),
        ("timeout", &options.timeout),
    ];
    for (name, time) in limits {
        if let Some((Duration::ZERO, span)) = time.as_ref().and_then(Time::known) {
            found.add(
                span,
                format!("`{name}` is zero, so nothing would ever be served from the cache; leave it out or give it a time"),
            );
        }
    }
    let windows = [
        ("stale_while_refresh", &options.stale_while_refresh),
        ("stale_if_error", &options.stale_if_error),
    ];
    for (name, time) in windows {
        if let Some((_, span)) = time.as_ref().and_then(known_or_here)
            && options.ttl.is_none()
            && options.idle.is_none()
        {
            found.add(
                span,
                format!("`{name}` begins where an entry's life ends, and no life ends: add `ttl` or `idle`"),
            );
        }
    }
    let refresh = options.refresh.as_ref().and_then(Time::known);
    let ttl = options.ttl.as_ref().and_then(Time::known);
    if let (Some((refresh, span)), Some((ttl, _))) = (refresh, ttl)
        && refresh >= ttl
    {
        found.add(
            span,
            "`refresh` is not shorter than `ttl`, so no entry would live to be refreshed; shorten it, or use \
             `stale_while_refresh`",
        );
    }
}

fn check_jitter(options: &Options, found: &mut Complaints) {
    if let Some(jitter) = &options.jitter
        && let Some(fraction) = number_of(jitter)
        && !(0.0..=1.0).contains(&fraction)
    {
        found.add(
            jitter.span(),
            format!("`jitter` is {fraction}, and must be a part of a life, from 0.0 to 1.0"),
        );
    }
}

fn check_policy(options: &Options, found: &mut Complaints) {
    let Some(Expr::Path(path)) = &options.policy else {
        return;
    };
    let Some(name) = path.path.get_ident() else {
        return;
    };
    let text = name.to_string();
    let nearest = POLICIES
        .iter()
        .find(|policy| policy.eq_ignore_ascii_case(&text));
    if let Some(policy) = nearest
        && *policy != text
    {
        found.add(
            name.span(),
            format!("there is no policy `{text}`; did you mean `{policy}`?"),
        );
    }
}

fn number_of(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Float(number),
            ..
        }) => number.base10_parse().ok(),
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => number.base10_parse().ok(),
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => number_of(expr).map(|number| -number),
        _ => None,
    }
}

/// The names of a function's own lifetimes.
pub fn lifetimes_of(function: &Function<'_>) -> Vec<String> {
    let params = function.item.sig.generics.params.iter();
    params
        .filter_map(|param| match param {
            GenericParam::Lifetime(param) => Some(param.lifetime.ident.to_string()),
            _ => None,
        })
        .collect()
}
