//! The function under the attribute: its arguments, and where it stands.
//!
//! Invariant: whatever is decided about an argument (how the wrapper calls it, whether it is in the key, whether
//! the body gets a clone) is decided here, once.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Expr, FnArg, Ident, ItemFn, Pat, Receiver, ReceiverKind, ReturnType, Type, parse_quote};

use crate::options::Options;

/// What the macro knows about a function.
pub struct Function<'a> {
    pub item: &'a ItemFn,
    pub place: Place,
    pub args: Vec<Arg>,
    pub output: Type,
}

/// Where a function stands, which says where its cache can be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a module or in another function: beside it there is room for a type.
    Free,
    /// In an `impl` of a type: beside it there is room for a function.
    Impl,
    /// In a trait, or in its `impl`: beside it there is no room.
    Trait,
}

/// One argument.
pub struct Arg {
    /// How the wrapper calls it.
    pub name: Ident,
    /// How the body calls it, if that takes a `let`.
    pub pattern: Option<Pat>,
    pub ty: Type,
    pub is_self: bool,
    pub is_ignored: bool,
    /// Whether options other than `ignore` mention it.
    pub is_mentioned: bool,
    /// Whether the body gets a clone, because the key or the tags look at the argument itself.
    pub is_cloned: bool,
}

impl<'a> Function<'a> {
    pub fn of(item: &'a ItemFn, options: &Options) -> Self {
        let args = item.sig.inputs.iter().enumerate();
        Self {
            item,
            place: place_of(item, options),
            args: args
                .map(|(index, arg)| Arg::of(arg, index, options))
                .collect(),
            output: match &item.sig.output {
                ReturnType::Default => parse_quote!(()),
                ReturnType::Type(_, ty) => (**ty).clone(),
            },
        }
    }

    pub fn is_async(&self) -> bool {
        self.item.sig.asyncness.is_some()
    }

    pub fn name(&self) -> String {
        self.item.sig.ident.unraw().to_string()
    }

    /// The arguments that are the key, if no `key = …` takes their place.
    pub fn keyed(&self) -> impl Iterator<Item = &Arg> {
        self.args.iter().filter(|arg| !arg.is_ignored)
    }
}

impl Arg {
    fn of(arg: &FnArg, index: usize, options: &Options) -> Self {
        match arg {
            FnArg::Receiver(receiver) => Self::of_self(receiver, options),
            FnArg::Typed(typed) => Self::of_typed(&typed.pat, &typed.ty, index, options),
        }
    }

    fn of_self(receiver: &Receiver, options: &Options) -> Self {
        let ty: Type = match &receiver.kind {
            ReceiverKind::Reference(and, lifetime, mutability) => {
                parse_quote!(#and #lifetime #mutability Self)
            }
            ReceiverKind::Typed(_, ty) => (**ty).clone(),
            _ => parse_quote!(Self),
        };
        let name = Ident::from(receiver.self_token);
        let mut arg = Self::new(name, ty, options, |expr| mentions(expr, "self"));
        arg.is_self = true;
        if !arg.is_borrowed() {
            // `self` cannot be bound anew, so the body of such a method gets it by another name.
            let other = own_self();
            let mutability = receiver.mutability;
            arg.pattern = Some(parse_quote!(#mutability #other));
        }
        arg
    }

    fn of_typed(pattern: &Pat, ty: &Type, index: usize, options: &Options) -> Self {
        if let Pat::Ident(plain) = pattern
            && plain.by_ref.is_none()
            && plain.subpat.is_none()
        {
            let text = plain.ident.unraw().to_string();
            let mut arg = Self::new(plain.ident.clone(), ty.clone(), options, |expr| {
                mentions(expr, &text)
            });
            if !arg.is_borrowed() || plain.mutability.is_some() {
                arg.pattern = Some(pattern.clone());
            }
            return arg;
        }
        let bindings = bindings_of(pattern);
        let name = format_ident!("__arg{index}", span = Span::mixed_site());
        let mut arg = Self::new(name, ty.clone(), options, |expr| {
            bindings
                .iter()
                .any(|binding| mentions(expr, &binding.unraw().to_string()))
        });
        arg.pattern = Some(pattern.clone());
        arg
    }

    fn new(name: Ident, ty: Type, options: &Options, mentioned: impl Fn(&Expr) -> bool) -> Self {
        let is_ignored = options.ignore.contains(&name);
        let outlives_key = [&options.key, &options.tags]
            .into_iter()
            .flatten()
            .any(&mentioned);
        let is_mentioned = options.about_arguments().any(&mentioned);
        let in_key = options.key.is_none() && !is_ignored;
        let mut arg = Self {
            name,
            pattern: None,
            ty,
            is_self: false,
            is_ignored,
            is_mentioned,
            is_cloned: false,
        };
        arg.is_cloned = !arg.is_borrowed() && (in_key || outlives_key);
        arg
    }

    /// Whether it is a reference.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.ty, Type::Reference(_))
    }

    /// How many references are around it.
    pub fn references(&self) -> usize {
        let mut ty = &self.ty;
        let mut references = 0;
        while let Type::Reference(reference) = ty {
            ty = &reference.elem;
            references += 1;
        }
        references
    }

    /// Its type without the references around it.
    pub fn target(&self) -> &Type {
        let mut ty = &self.ty;
        while let Type::Reference(reference) = ty {
            ty = &reference.elem;
        }
        ty
    }

    pub fn is_float(&self) -> bool {
        is_float(self.target())
    }

    /// What of it is kept in the key.
    pub fn owned_type(&self) -> TokenStream {
        let target = self.target();
        if self.is_float() {
            quote!(::scrubjay::Bits<#target>)
        } else if self.is_borrowed() {
            quote!(<#target as ::std::borrow::ToOwned>::Owned)
        } else {
            quote!(#target)
        }
    }

    /// Whether options see it only through its pattern.
    pub fn is_destructured(&self) -> bool {
        !self.is_self && !matches!(&self.pattern, None | Some(Pat::Ident(_)))
            || matches!(&self.pattern, Some(Pat::Ident(plain)) if plain.by_ref.is_some() || plain.subpat.is_some())
    }
}

/// What the body of a method that takes `self` by value calls it.
pub fn own_self() -> Ident {
    Ident::new("__self", Span::mixed_site())
}

fn is_float(ty: &Type) -> bool {
    match ty {
        Type::Path(path) if path.qself.is_none() => {
            let last = path.path.segments.last();
            let is_primitive = path.path.segments.len() == 1
                || path
                    .path
                    .segments
                    .iter()
                    .any(|segment| segment.ident == "primitive");
            is_primitive && last.is_some_and(|last| last.ident == "f32" || last.ident == "f64")
        }
        Type::Paren(inner) => is_float(&inner.elem),
        Type::Group(inner) => is_float(&inner.elem),
        _ => false,
    }
}

fn place_of(item: &ItemFn, options: &Options) -> Place {
    if options.in_trait.is_some() {
        return Place::Trait;
    }
    let mut finder = SelfFinder(false);
    finder.visit_signature(&item.sig);
    finder.visit_block(&item.block);
    if options.in_impl.is_some() || finder.0 {
        Place::Impl
    } else {
        Place::Free
    }
}

/// Finds `self` and `Self`, which only stand in methods, but not those of items in the body.
struct SelfFinder(bool);

impl<'ast> Visit<'ast> for SelfFinder {
    fn visit_receiver(&mut self, _: &'ast Receiver) {
        self.0 = true;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0 |= path
            .segments
            .first()
            .is_some_and(|first| first.ident == "Self");
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.0 |= has_word(call.tokens.clone(), "Self");
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

fn bindings_of(pattern: &Pat) -> Vec<Ident> {
    struct Bindings(Vec<Ident>);
    impl<'ast> Visit<'ast> for Bindings {
        fn visit_pat_ident(&mut self, binding: &'ast syn::PatIdent) {
            self.0.push(binding.ident.clone());
            visit::visit_pat_ident(self, binding);
        }
    }
    let mut bindings = Bindings(Vec::new());
    bindings.visit_pat(pattern);
    bindings.0
}

/// Whether an expression may mention a variable, also within a format string.
pub fn mentions(expr: &Expr, name: &str) -> bool {
    has_word(expr.to_token_stream(), name)
}

fn has_word(tokens: TokenStream, word: &str) -> bool {
    let mut dots = 0;
    tokens.into_iter().any(|token| {
        // What comes after a single dot is a field or a method.
        let is_member = dots == 1;
        let is_dot = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.');
        dots = if is_dot { dots + 1 } else { 0 };
        match token {
            TokenTree::Ident(ident) => !is_member && ident.unraw() == word,
            TokenTree::Group(group) => has_word(group.stream(), word),
            TokenTree::Literal(literal) => is_captured(&literal.to_string(), word),
            TokenTree::Punct(_) => false,
        }
    })
}

/// Whether a format string names a variable: `{name}` or `{name:…}`.
fn is_captured(text: &str, name: &str) -> bool {
    text.split('{').skip(1).any(|part| {
        let rest = part.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['}', ':']))
    })
}

/// The words in some tokens.
pub fn words_of(tokens: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => words.push(ident.unraw().to_string()),
            TokenTree::Group(group) => words.extend(words_of(group.stream())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    words
}

/// The signature of the wrapper: plain names in the place of patterns.
pub fn wrapper_signature(function: &Function<'_>) -> syn::Signature {
    let mut sig = function.item.sig.clone();
    for (input, arg) in sig.inputs.iter_mut().zip(&function.args) {
        match input {
            FnArg::Receiver(receiver) => receiver.mutability = None,
            FnArg::Typed(typed) => {
                let name = &arg.name;
                *typed.pat = parse_quote!(#name);
            }
        }
    }
    sig
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_mentions_its_variables_and_not_its_members() {
        let expr: Expr = parse_quote!((user.id, format!("{page:>3} of all"), ..last));
        for name in ["user", "page", "last"] {
            assert!(mentions(&expr, name), "{name}");
        }
        for name in ["id", "of", "all", "pag"] {
            assert!(!mentions(&expr, name), "{name}");
        }
    }
}
